package event

import (
	"bytes"
	"testing"
)

// A record that is no event is kept byte for byte, and is none when it comes back.
func TestOpaque(t *testing.T) {
	for _, raw := range [][]byte{nil, []byte("hello"), {0xff, 0}, []byte(`{"specversion":"1.0"}`), make([]byte, MaxSize)} {
		got, err := Encode(&Event{Data: &Opaque{Raw: raw}})
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%.40q: %.40q, %v", raw, got, err)
		}
		if e, err := Decode(got); err == nil {
			t.Errorf("%.40q came back as %+v", raw, e)
		}
	}
	if _, err := Encode(&Event{Data: &Opaque{Raw: make([]byte, MaxSize+1)}}); err == nil {
		t.Error("a record of more than MaxSize bytes was kept")
	}
}
