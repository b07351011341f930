package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
)

// What an epoch holds is named until it is released, a bounded number of programs of it.
func TestHeldDetail(t *testing.T) {
	reg := &control.Registry{}
	apply := func(tenant string, d event.Data) {
		t.Helper()
		next, ok := reg.Apply(reg.Position, &event.Event{ID: event.ID{byte(reg.Position + 1)}, Tenant: tenant, Data: d})
		if !ok {
			t.Fatalf("%s changes nothing", d.Type())
		}
		reg = next
	}
	for i := range 12 {
		apply("acme", &event.ProgramChanged{Name: fmt.Sprintf("p%02d", i), LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"*"}, By: "x"})
	}
	if held := reg.Epoch().Held(reg); len(held) != 0 {
		t.Errorf("before an epoch %d programs are held", len(held))
	}
	apply("", &event.EpochBegan{Epoch: 2, Cause: event.EpochRecovered, By: "x"})
	apply("acme", &event.EpochReleased{Epoch: 2, Program: "p01", By: "x"})
	held := reg.Epoch().Held(reg)
	text := heldDetail(held)
	if len(held) != 11 || !strings.Contains(text, "acme/p00") || strings.Contains(text, "acme/p01") || !strings.Contains(text, "1 more") || !strings.Contains(text, "chirograph recover release") {
		t.Errorf("%d are held: %s", len(held), text)
	}
	apply("", &event.EpochReleased{Epoch: 2, By: "x"})
	if held := reg.Epoch().Held(reg); len(held) != 0 {
		t.Errorf("after the release of all %d programs are held", len(held))
	}
}
