package sqlitelog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/ledger"
)

// A file that is removed or replaced while the log has it open takes no more commits: they would be lost with it. When
// the file is back, the log goes on.
func TestFileMoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	path := filepath.Join(dir, file)
	if a := logtest.Wait(l, 1, logtest.Events(1, 3)); a.Err != nil {
		t.Fatal(a.Err)
	}
	for _, replace := range []bool{false, true} {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if replace {
			raw, err := os.ReadFile(path + ".away")
			if err == nil {
				err = os.WriteFile(path, raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if a := logtest.Wait(l, 1, logtest.Events(2, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
			t.Errorf("an append without the file: %v", a.Err)
		}
		if ok, _, detail := l.Health(); ok || !strings.Contains(detail, "removed or replaced") {
			t.Errorf("health is %t, %q", ok, detail)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if a := logtest.Wait(l, 1, logtest.Events(3, 1)); a.Err != nil {
			t.Errorf("an append with the file back: %v", a.Err)
		}
		if ok, _, detail := l.Health(); !ok {
			t.Errorf("health is %q", detail)
		}
	}
}
