package control

import (
	"errors"
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
)

// A pause's reason is kept for ever, like that of a read. Commands without a ledger append nothing.
func TestPauseRefusesReason(t *testing.T) {
	k := &Commands{}
	for reason, want := range map[string]string{"": "reason_required", "x": "invalid_reason", "+1 415 555 0123 complained": "reason_has_number", "4155550123": "reason_has_number"} {
		_, paused := k.Pause(t.Context(), ledger.Caller{}, &PauseRequest{Reason: reason})
		_, resumed := k.Resume(t.Context(), ledger.Caller{}, &PauseRequest{Reason: reason})
		for _, err := range []error{paused, resumed} {
			var r *ledger.Refusal
			if !errors.As(err, &r) || r.Code != want || r.Field != "/reason" {
				t.Errorf("%q: %v, want %s", reason, err, want)
			}
		}
	}
}
