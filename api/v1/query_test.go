package v1

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// A parameter that is not in the document is refused by every operation: the answer to what it was meant to narrow
// would be about something else.
func TestUnknownParameter(t *testing.T) {
	e := newEnv(t)
	n := 0
	for _, op := range document().Operations {
		if op.Scope == "" {
			continue
		}
		n++
		target := strings.NewReplacer("{id}", testID(1).String(), "{event}", testID(1).String(), "{name}", "otp", "{period}", "day").Replace(op.Path)
		for _, k := range []string{testToken, "k_auditor"} {
			r := httptest.NewRequestWithContext(t.Context(), op.Method, target+"?no_such=1", strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer "+k)
			w := httptest.NewRecorder()
			e.h.ServeHTTP(w, r)
			if w.Code == 401 || w.Code == 403 {
				continue
			}
			if w.Code != 400 || !strings.Contains(w.Body.String(), "bad_parameter") || !strings.Contains(w.Body.String(), "no_such") {
				t.Errorf("%s %s: %d %s", op.Method, op.Path, w.Code, w.Body)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d operations", n)
	}
}
