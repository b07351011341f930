package vault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// rotated is a vault with its master key files, in a test of a rotation.
type rotated struct {
	t              *testing.T
	path, url, key string
}

func newRotated(t *testing.T, engine string) *rotated {
	t.Helper()
	r := &rotated{t: t, path: filepath.Join(t.TempDir(), "vault.db"), key: masterFile(t)}
	if engine == "PostgreSQL" {
		r.url = database(t)
	}
	return r
}

func openRotated(path, url, key string) (*Vault, error) {
	o := Options{Create: true, Log: slog.New(slog.DiscardHandler)}
	if url != "" {
		return OpenPostgres(context.Background(), url, key, o)
	}
	return Open(path, key, o)
}

func (r *rotated) open(key string) *Vault {
	r.t.Helper()
	v, err := openRotated(r.path, r.url, key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { v.Close() })
	return v
}

// box is something that was sealed.
type box struct {
	id event.ID
	s  event.Sealed
}

func seals(t *testing.T, v *Vault, n int) (out []box) {
	t.Helper()
	for i := range n {
		id := event.NewID(november.AddDate(0, -i%30, 0))
		out = append(out, box{id, sealed(t, v, "acme", subjectKey(t, v), "message", id, "a body")})
	}
	return out
}

func (r *rotated) opens(v *Vault, all []box) {
	r.t.Helper()
	forget(v)
	for _, b := range all {
		if plain, err := v.Open("acme", b.id, &b.s); err != nil || string(plain) != "a body" {
			r.t.Fatalf("opened %q, %v", plain, err)
		}
	}
}

// forget empties a vault's memory of keys, but for those of classes.
func forget(v *Vault) {
	shrink(v.secrets, 1)
	v.recent = new(recent)
	shrink(v.ciphers, 1)
}

// Every key opens with the new master key alone after a rotation, and none with the old one; a process that
// has the vault open all the while goes on, and finds the new master key in its file.
func TestRotate(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			r := newRotated(t, engine)
			v, running := r.open(r.key), r.open(r.key)
			all := seals(t, v, 100)
			fingerprint := v.Fingerprint()
			next := masterFile(t)

			// A node that does not have the new file opens what it knows, and then says what it lacks.
			if err := os.Link(next, r.key+".new"); err != nil {
				t.Fatal(err)
			}
			var during []box
			n, done, err := rotate(t.Context(), v, next, "test", 10, func(int) {
				r.opens(running, all)
				during = append(during, seals(t, running, 3)...)
				s, err := StatusOf(t.Context(), running)
				if err != nil || len(s.Masters) != 2 || s.Masters[0].Keys+s.Masters[1].Keys != s.Subjects+s.Classes+2 {
					t.Errorf("status %+v, %v", s, err)
				}
			})
			if err != nil || !done || n < 100 {
				t.Fatalf("%d keys were wrapped, %v, %v", n, done, err)
			}
			all = append(all, during...)
			r.opens(v, all)
			r.opens(running, all)
			all = append(all, seals(t, running, 5000)...) // more than the spares that were there
			if n, done, err := Rotate(t.Context(), v, next, "test", nil); n != 0 || done || err != nil {
				t.Errorf("once more: %d, %v, %v", n, done, err)
			}
			s, err := StatusOf(t.Context(), v)
			if err != nil || len(s.Masters) != 1 || s.Masters[0].Keys != s.Subjects+s.Classes+2 || s.Masters[0].Wraps < s.Masters[0].Keys || s.Fingerprint != fingerprint {
				t.Errorf("status %+v, %v", s, err)
			}

			ended, err := Rotations(t.Context(), v)
			if err != nil || len(ended) != 1 || ended[0].By != "test" || ended[0].Keys < 100 || ended[0].Ended.Before(ended[0].Began) || ended[0].Event.IsZero() {
				t.Fatalf("rotations %+v, %v", ended, err)
			}
			if err := Recorded(t.Context(), v, ended[0]); err != nil {
				t.Fatal(err)
			}
			if left, err := Rotations(t.Context(), v); err != nil || len(left) != 0 {
				t.Errorf("to be recorded %+v, %v", left, err)
			}

			alone := r.open(next)
			r.opens(alone, all)
			if alone.Fingerprint() != fingerprint || alone.Digest("acme", "p", nil) != v.Digest("acme", "p", nil) {
				t.Error("the vault has other pseudonyms or digests")
			}
			os.Remove(r.key + ".new")
			if _, err := openRotated(r.path, r.url, r.key); !errors.Is(err, ErrOtherMasterKey) {
				t.Errorf("with the old master key alone: %v", err)
			}
			for _, end := range []string{".new", ".previous"} { // the files may be named either way
				if err := os.Link(next, r.key+end); err != nil {
					t.Fatal(err)
				}
				r.open(r.key)
				os.Remove(r.key + end)
			}
			third := masterFile(t)
			if n, done, err := Rotate(t.Context(), alone, third, "test", nil); !done || err != nil || int64(n) < s.Subjects+s.Classes {
				t.Errorf("the second rotation: %d, %v, %v; want %d", n, done, err, s.Subjects+s.Classes)
			}
			r.opens(r.open(third), all)
		})
	}
}

// A process that has the old master key alone while a rotation runs opens what is under that, and for
// the rest says which file it lacks. It makes no key that nobody could open later.
func TestRotateBesideTheOldKey(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			r := newRotated(t, engine)
			v, running := r.open(r.key), r.open(r.key)
			all := seals(t, running, 30)
			next := masterFile(t)
			stop := errors.New("stop")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if _, _, err := rotate(ctx, v, next, "test", 10, func(n int) {
				again := 0
				for _, b := range all {
					box, err := v.store.secret(t.Context(), b.s.SubjectKey)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := running.ring.current().unwrap(box, "subject", string(b.s.SubjectKey[:])); err != nil {
						again++
					}
				}
				if again >= len(all)/3 {
					cancel(stop)
				}
			}); err == nil {
				t.Fatal("the rotation did not stop")
			}
			forget(running)
			opened := 0
			for _, b := range all {
				switch _, err := running.Open("acme", b.id, &b.s); {
				case err == nil:
					opened++
				case !errors.Is(err, ErrOtherMasterKey) || !strings.Contains(err.Error(), r.key+".new"):
					t.Errorf("%v", err)
				}
			}
			if opened == 0 || opened == len(all) {
				t.Errorf("%d of %d opened", opened, len(all))
			}
			if err := os.Remove(r.key + ".new"); err == nil {
				t.Fatal("who put it there?")
			}
			for range 3 * maxSpares { // it may use up its spares
				if _, err := running.SubjectKey("acme", event.Pseudonym{}); err != nil {
					if !strings.Contains(err.Error(), r.key+".new") {
						t.Errorf("no key, and the reason is %v", err)
					}
					break
				}
			}
			if s, err := StatusOf(t.Context(), running); err != nil || s.Masters[1].Keys > int64(len(all)+2*maxSpares) {
				t.Errorf("%+v, %v", s, err)
			}
			other := masterFile(t)
			if _, _, err := Rotate(t.Context(), r.open(r.key), other, "test", nil); err == nil || !strings.Contains(err.Error(), "finish it first") {
				t.Errorf("a second rotation beside the first: %v", err)
			}
			onlyNew := masterFile(t)
			os.Remove(onlyNew)
			if err := os.Link(next, onlyNew); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Rotate(t.Context(), r.open(onlyNew), next, "test", nil); !errors.Is(err, ErrOtherMasterKey) {
				t.Errorf("without the old master key: %v", err)
			}
			if err := os.Link(next, r.key+".new"); err != nil {
				t.Fatal(err)
			}
			if _, done, err := Rotate(t.Context(), r.open(r.key), next, "test", nil); !done || err != nil {
				t.Errorf("%v, %v", done, err)
			}
			r.opens(running, all)
			r.opens(r.open(next), all)
		})
	}
}

// A program of before adds no key to a vault whose master key was changed, and does not open it.
func TestRotatedRefusesPrograms(t *testing.T) {
	r := newRotated(t, "SQLite")
	v := r.open(r.key)
	before := "INSERT INTO subjects (id, secret) VALUES (?, ?)"
	id := event.NewID(november)
	if _, err := v.db.Exec(before, id[:], v.ring.wrapped(newKey(), "subject", string(id[:])).box); err != nil {
		t.Fatal(err)
	}
	next := masterFile(t)
	if _, _, err := Rotate(t.Context(), v, next, "test", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := v.secret(id); err != nil {
		t.Error(err)
	}
	if _, err := v.db.Exec(before, id[:], []byte("box")); err == nil || !strings.Contains(err.Error(), "new master key") {
		t.Errorf("a program of before adds a key: %v", err)
	}
	var format int
	if err := v.db.QueryRow("PRAGMA user_version").Scan(&format); err != nil || format == formatVersion {
		t.Errorf("format %d, %v", format, err)
	}
}

// rotator is the process that TestRotateKilled kills.
func rotator(file string) {
	v, err := openRotated(os.Getenv("VAULT_TEST_PATH"), os.Getenv("VAULT_TEST_URL"), os.Getenv("VAULT_TEST_KEY"))
	if err == nil {
		fmt.Println("open")
		_, _, err = rotate(context.Background(), v, file, "test", 5, func(int) { fmt.Println("batch") })
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("done")
	os.Exit(0)
}

// The process of a rotation is killed again and again, and run again, while another seals and opens.
func TestRotateKilled(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			r := newRotated(t, engine)
			running := r.open(r.key)
			all := seals(t, running, 400)
			next := masterFile(t)
			if err := os.Link(next, r.key+".new"); err != nil {
				t.Fatal(err)
			}
			done := false
			for round := 0; !done; round++ {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "VAULT_TEST_ROTATE="+next, "VAULT_TEST_PATH="+r.path, "VAULT_TEST_URL="+r.url, "VAULT_TEST_KEY="+r.key)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				said := bufio.NewScanner(out)
				for n := 0; said.Scan(); n++ {
					switch said.Text() {
					case "open", "batch":
					case "done":
						done = true
					default:
						t.Errorf("round %d: %s", round, said.Text())
						done = true
					}
					if n == round*3 {
						_ = cmd.Process.Kill()
					}
					all = append(all, seals(t, running, 2)...)
				}
				_ = cmd.Wait()
				r.opens(running, all)
				r.opens(r.open(r.key), all)
			}
			os.Remove(r.key + ".new")
			r.opens(r.open(next), all)
			if v, err := openRotated(r.path, r.url, r.key); !errors.Is(err, ErrOtherMasterKey) {
				t.Errorf("with the old master key alone: %v, %v", v, err)
			}
			if s, err := StatusOf(t.Context(), running); err != nil || len(s.Masters) != 1 || s.Masters[0].Keys != s.Subjects+s.Classes+2 {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// Keys that were lost come back from a copy, also from one under an older master key; what the vault has stays.
func TestAdd(t *testing.T) {
	r := newRotated(t, "SQLite")
	v := r.open(r.key)
	all := seals(t, v, 20)
	v.Close()
	raw, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "vault.db")
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	v = r.open(r.key)
	lost := all[7].s
	if _, err := v.db.Exec("DELETE FROM subjects WHERE id = ?", lost.SubjectKey[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := v.db.Exec("DELETE FROM classes WHERE class = ?", all[9].s.ClassKey); err != nil {
		t.Fatal(err)
	}
	v.Close()
	v = r.open(r.key)
	for _, i := range []int{7, 9} {
		if _, err := v.Open("acme", all[i].id, &all[i].s); !errors.Is(err, ledger.ErrKeyMissing) {
			t.Errorf("%d: %v", i, err)
		}
	}
	later := seals(t, v, 30)
	next := masterFile(t)
	if _, _, err := Rotate(t.Context(), v, next, "test", nil); err != nil {
		t.Fatal(err)
	}
	from, err := OpenToCopy(copied, r.key, true)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if n, err := Add(t.Context(), from, v); n != 2 || err != nil {
		t.Errorf("%d keys were added, %v", n, err)
	}
	v.Close()
	v = r.open(next)
	r.opens(v, append(all, later...))
	if ok, _, detail := v.Health(); !ok {
		t.Error(detail)
	}
	other := newRotated(t, "SQLite")
	if n, err := Add(t.Context(), from, other.open(other.key)); n != 0 || err == nil {
		t.Errorf("from another vault %d keys were added, %v", n, err)
	}
}
