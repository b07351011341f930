package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

const exportID = "01932c0c-2b3c-7d4e-8f50-617283940a1b"

func jobOf(state, more string) string {
	return `{"id":"` + exportID + `","kind":"export","state":"` + state + `","asked_at":"2026-11-24T14:00:00.000Z","by":"officer","reason":"Complaint of 24 November",
		"scope":["the recipient with the pseudonym 5f1d","accepted before 2026-12-01T00:00:00Z"],"in_clear":["message","words"],"heads":["00-812"],"done":3,"known":41` + more + `}`
}

func fileOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf(`,"ended_at":"2026-11-24T14:00:01.200Z","file":{"events":41,"size":%d,"sha256":"%s","delete_after":"2026-12-01T14:00:01.200Z"}`, len(content), hex.EncodeToString(sum[:]))
}

func jobAnswer(method, state, more string) scripted {
	return scripted{method: method, path: "/v1/jobs/" + exportID, status: 200, body: jobOf(state, more)}
}

func TestExport(t *testing.T) {
	const content = "PK the file"
	asked := scripted{method: "POST", path: "/v1/audit/exports", status: 202, body: jobOf("queued", "")}
	file := scripted{method: "GET", path: "/v1/audit/exports/" + exportID + "/file", status: 200, body: content, header: map[string]string{"Content-Type": "application/zip"}}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	plain := func(r terminaltest.Result) string { return strings.ReplaceAll(r.Stderr+r.Stdout, dir, "DIR") }

	f := newFake(t, asked, jobAnswer("GET", "running", ""), jobAnswer("GET", "finished", fileOf(content)), file)
	out := plain(f.run("", "export", "--recipient", "+14155550123", "--until", "2026-12-01", "--clear", "--reason", "Complaint of 24 November", "--out", at("a.zip")).Is(t, 0))
	if want := `{"clear":true,"reason":"Complaint of 24 November","recipient":"+14155550123","until":"2026-12-01T00:00:00Z"}`; f.body(0) != want {
		t.Errorf("the body is %s", f.body(0))
	}
	raw, err := os.ReadFile(at("a.zip"))
	if err != nil || string(raw) != content {
		t.Errorf("the file is %q, %v", raw, err)
	}
	if st, err := os.Stat(at("a.zip")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}

	// A file that is there is not touched, and nothing is asked.
	newFake(t).run("", "export", "--reason", "Complaint", "--out", at("a.zip")).Is(t, terminal.ExitFailed)

	// Other bytes than the server made leave no file.
	f = newFake(t, jobAnswer("GET", "finished", fileOf("something else")), file)
	out += plain(f.run("", "export", "--get", exportID, "--out", at("b.zip")).Is(t, terminal.ExitFailed))
	f = newFake(t, jobAnswer("GET", "finished", fileOf(content)), refused("GET", file.path, 409, "export_without_file", ""))
	f.run("", "export", "--get", exportID, "--out", at("b.zip")).Is(t, terminal.ExitFailed)
	f = newFake(t, jobAnswer("GET", "failed", `,"why":"It could not be made."`))
	out += plain(f.run("", "export", "--get", exportID, "--out", at("b.zip")).Is(t, terminal.ExitFailed))
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}

	f = newFake(t, jobAnswer("DELETE", "cancelled", ""), refused("DELETE", "/v1/jobs/"+exportID, 404, "export_not_found", ""))
	out += plain(f.run("", "export", "--cancel", exportID).Is(t, 0))
	f.run("", "export", "--cancel", exportID).Is(t, terminal.ExitFailed)

	list := func(jobs ...string) scripted {
		return scripted{method: "GET", path: "/v1/audit/exports", status: 200, body: `{"exports":[` + strings.Join(jobs, ",") + `]}`}
	}
	f = newFake(t, list(), list(jobOf("running", ""), jobOf("finished", fileOf(content)), jobOf("deleted", fileOf(content)+`,"deleted_at":"2026-12-01T14:00:01.200Z"`), jobOf("cancelled", "")))
	out += plain(f.run("", "exports").Is(t, 0))
	out += plain(f.run("", "exports").Is(t, 0))
	terminaltest.Golden(t, "export.txt", out)

	for _, args := range [][]string{{"export"}, {"export", "--get", "a", "--cancel", "b"}, {"export", "--reason", "abc", "--since", "yesterday"}} {
		newFake(t).run("", args...).Is(t, terminal.ExitUsage)
	}
	f = newFake(t, refused("POST", "/v1/audit/exports", 422, "reason_has_number", "/reason"))
	f.run("", "export", "--reason", "call 4155550123").Is(t, terminal.ExitFailed)
}
