package routing

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

func TestChoose(t *testing.T) {
	table := Table{Position: 7, Routes: []event.Route{
		{Rule: "codes-us", Countries: []string{"US", "CA"}, Programs: []string{"codes"}, Carrier: "fast"},
		{Rule: "us", Countries: []string{"US"}, Carrier: "cheap"},
		{Rule: "news", Programs: []string{"news"}, Carrier: "bulk"},
	}}
	for _, tt := range []struct{ country, program, want string }{
		{"US", "codes", "codes-us"}, // the first that matches counts
		{"CA", "codes", "codes-us"},
		{"US", "news", "us"}, // a route without programs matches all
		{"GB", "news", "news"},
		{"GB", "codes", ""},
		{"CA", "other", ""},
		{"", "other", ""},
	} {
		r, ok := table.Choose(tt.country, tt.program)
		if r.Rule != tt.want || ok != (tt.want != "") {
			t.Errorf("%s for %s: %q, %v; want %q", tt.country, tt.program, r.Rule, ok, tt.want)
		}
	}
	if _, ok := (Table{}).Choose("US", "codes"); ok {
		t.Error("an empty table has a route")
	}
	if !table.Leads("bulk") || table.Leads("nowhere") {
		t.Error("Leads")
	}
}
