package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingLeaks: a number, a body, a reference, metadata and evidence are in no
// file, no log line, no metric and no error, in no spelling.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	const number, body, reference, meta, evidence = "+14155550187", "Zanzibar statement quokka", "ref-xylophone-77", "marmalade-meta", "walrus on the phone"
	c := newCentre(t, "--receipt-delay", "10ms", "--mo", "1", "--mo-text", "please stop texting me, gryphon")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	id := n.send(fmt.Sprintf(`{"to":%q,"body":%q,"reference":%q,"metadata":{"k":%q}}`, number, body, reference, meta), "Idempotency-Key", "narwhal-key")
	n.becomes(id, "delivered")
	if a := n.call("POST", "/v1/opt-outs", fmt.Sprintf(`{"number":%q,"scope":"tenant","source":"phone","evidence":%q}`, number, evidence)); a.status != http.StatusCreated {
		t.Fatalf("opt-out: %d %s", a.status, a.body)
	}
	n.becomes(n.send(fmt.Sprintf(`{"to":%q,"body":%q}`, number, body)), "denied")
	within(t, "the answer of the handset", func() bool {
		return !bytes.Contains(n.call("GET", "/metrics", "").body, []byte(`chirograph_deliveries_total{kind="inbound"} 0`))
	})
	var found struct{ Messages []view }
	n.call("POST", "/v1/messages/search", fmt.Sprintf(`{"reference":%q}`, reference)).into(t, &found)
	if len(found.Messages) != 1 || found.Messages[0].ID != id {
		t.Errorf("the reference finds %+v", found)
	}
	secrets := []string{number[1:], body, "quokka", reference, meta, evidence, "gryphon", "narwhal-key", n.key()}

	// What is refused says why, without saying what.
	var said bytes.Buffer
	for _, bad := range []string{
		fmt.Sprintf(`{"to":"%s99999999","body":%q}`, number, body),
		fmt.Sprintf(`{"to":%q,"body":%q,"program":"none"}`, number, body),
		fmt.Sprintf(`{"to":%q,"body":%q,"to":%q}`, number, body, number),
		fmt.Sprintf(`{"to":%q,"body":%q,"from":"%s!"}`, number, body, meta),
		fmt.Sprintf(`{"to":%q,"body":%q,"send_at":"2099-01-01T00:00:00Z"}`, number, body),
		fmt.Sprintf(`{"to":%q,"body":%q`, number, body),
		fmt.Sprintf(`{"to":%q,"body":%q,"reference":%q}`, number, strings.Repeat(body, 100), reference),
	} {
		a := n.call("POST", "/v1/messages", bad)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%d %s", a.status, a.body)
		}
		said.Write(a.body)
	}
	said.Write(n.call("GET", "/metrics", "").body)
	said.Write(n.call("GET", "/readyz", "").body)
	n.p.stop()
	said.WriteString(n.p.text())
	look := func(where string, raw []byte, secrets []string) {
		low := bytes.ToLower(raw)
		for _, s := range secrets {
			for _, form := range forms(s) {
				if bytes.Contains(low, bytes.ToLower([]byte(form))) {
					t.Errorf("%s holds %q", where, form)
				}
			}
		}
	}
	// The banner shows the development key, on purpose.
	look("an answer, a metric or a log line", said.Bytes(), secrets[:len(secrets)-1])
	err := filepath.WalkDir(filepath.Join(n.dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if filepath.Base(path) == "dev-key" {
			return err
		}
		look(filepath.Base(path), raw, secrets)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forms are the spellings that are looked for: plain, hexadecimal, and base64 at
// each of its three alignments, without what its neighbours decide.
func forms(s string) []string {
	out := []string{s, hex.EncodeToString([]byte(s))}
	for i := range 3 {
		b := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", i) + s))
		from := []int{0, 2, 3}[i]
		out = append(out, b[from:len(b)-2])
	}
	return out
}
