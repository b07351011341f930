package door

import (
	"errors"
	"testing"
)

// A tenant has its share of what may wait, and no more; another's is untouched.
func TestShares(t *testing.T) {
	s := NewShares(3)
	for range 3 {
		if err := s.Enter("a"); err != nil {
			t.Fatal(err)
		}
	}
	var p *Problem
	if err := s.Enter("a"); !errors.As(err, &p) || p.Code != "overloaded" {
		t.Fatal(err)
	}
	if err := s.Enter("b"); err != nil {
		t.Fatal(err)
	}
	s.Leave("a")
	if err := s.Enter("a"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.Leave("a")
	}
	s.Leave("b")
	if len(s.used) != 0 {
		t.Errorf("%v", s.used)
	}
}
