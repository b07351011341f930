package vault

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/seal"
)

var update = flag.Bool("update", false, "write the golden boxes if they are missing")

// fixed seals with keys that are given: each is made of the name that it is asked for.
func fixed() *sealing {
	of := func(kind string, name []byte) ([]byte, error) {
		k := sha256.Sum256(append([]byte(kind), name...))
		return k[:], nil
	}
	class := func(k classKey) ([]byte, error) { return of("class", []byte(k.tenant+"\x00"+k.class)) }
	s := newSealing(func(id event.ID) ([keySize]byte, error) {
		secret, err := of("subject", id[:])
		return [keySize]byte(secret), err
	}, class, class, func(k classKey) (classKey, error) { return k, nil })
	return &s
}

func drawID(t *rapid.T, name string) event.ID {
	id := event.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
	id[0] = 1 // ids are times: of this century
	return id
}

var classNames = rapid.SampledFrom([]ledger.Class{ledger.ClassMessage, ledger.ClassEvidence, ledger.ClassCarrier})

// What is sealed opens, whether its cipher is remembered or not; and where one thing about it is another, it does
// not, whether the other's cipher is remembered or not.
func TestSealedOpensOnlyAsItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, version := fixed(), rapid.SampledFrom(versions).Draw(t, "version")
		tenant, class := rapid.StringN(0, 8, -1).Draw(t, "tenant"), classNames.Draw(t, "class")
		id, key, plain := drawID(t, "id"), drawID(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		s, err := v.Seal(tenant, key, class, version, id, plain)
		if err != nil {
			t.Fatal(err)
		}
		beside, besidePlain := drawID(t, "beside"), []byte("another event of the person")
		if beside == id {
			beside[15] ^= 1
		}
		next, err := v.Seal(tenant, key, class, version, beside, besidePlain)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "forget") {
			v = fixed()
		}
		for range 2 {
			if got, err := v.Open(tenant, id, &s); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("opened %q, %v", got, err)
			}
			if got, err := v.Open(tenant, beside, &next); err != nil || !bytes.Equal(got, besidePlain) {
				t.Fatalf("beside it opened %q, %v", got, err)
			}
		}
		flip := func(b []byte, what string) {
			n := rapid.IntRange(0, len(b)*8-1).Draw(t, what+" bit")
			b[n/8] ^= 1 << (n % 8)
		}
		x, otherTenant, otherID := s, tenant, id
		x.Box = bytes.Clone(s.Box)
		switch what := rapid.SampledFrom([]string{"box", "id", "tenant", "class", "key", "version", "cut"}).Draw(t, "what"); what {
		case "box":
			flip(x.Box, what)
		case "id":
			flip(otherID[:], what)
		case "tenant":
			otherTenant += "x"
		case "class":
			x.ClassKey = strings.Replace(x.ClassKey, "/", "s/", 1)
		case "key":
			flip(x.SubjectKey[:], what)
		case "version":
			x.Version = rapid.SampledFrom([]event.SealVersion{event.SealV2 - version, 1, 3}).Draw(t, what)
		case "cut":
			x.Box = x.Box[:rapid.IntRange(0, len(x.Box)-1).Draw(t, what)]
		}
		for range 2 {
			if got, err := v.Open(otherTenant, otherID, &x); err == nil {
				t.Fatalf("opened %q", got)
			}
		}
	})
}

// The key of an event opens that event and no other, and is no key of the vault.
func TestEventKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := fixed()
		type sealed struct {
			tenant string
			id     event.ID
			s      event.Sealed
			plain  []byte
		}
		// Few names, so that events share their subject, class and month.
		var all []sealed
		ids := map[event.ID]bool{}
		for range rapid.IntRange(2, 6).Draw(t, "n") {
			x := sealed{tenant: rapid.SampledFrom([]string{"acme", "bank"}).Draw(t, "tenant"), id: drawID(t, "id"), plain: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "plain")}
			if ids[x.id] {
				continue
			}
			ids[x.id] = true
			key := event.ID{1, rapid.SampledFrom([]byte{1, 2}).Draw(t, "key")}
			var err error
			if x.s, err = v.Seal(x.tenant, key, classNames.Draw(t, "class"), event.SealV2, x.id, x.plain); err != nil {
				t.Fatal(err)
			}
			all = append(all, x)
		}
		for i, x := range all {
			key, err := v.EventKey(x.tenant, x.id, &x.s)
			if err != nil || len(key) != seal.KeySize {
				t.Fatalf("%x, %v", key, err)
			}
			for j, y := range all {
				plain, err := seal.Open(key, y.tenant, y.id, &y.s)
				if i == j && (err != nil || !bytes.Equal(plain, y.plain)) {
					t.Fatalf("its own key opened %q, %v", plain, err)
				}
				if i != j && !errors.Is(err, seal.ErrAltered) {
					t.Fatalf("another event's key opened %q, %v", plain, err)
				}
			}
			// What the vault keeps, and what else it derives, is not the key.
			k := cipherKey{classKey{x.tenant, x.s.ClassKey}, x.s.SubjectKey}
			secret, salt, err := v.both(k, v.classOf)
			if err != nil {
				t.Fatal(err)
			}
			root := extract(secret[:], salt)
			v1 := derive(secret[:], salt, "chirograph vault: seal", x.tenant, x.s.ClassKey, string(x.s.SubjectKey[:]))
			for _, other := range [][]byte{root[:], secret[:], salt, v1} {
				if len(other) != 32 || bytes.Equal(other, key) || bytes.Contains(x.s.Box, other) {
					t.Fatalf("%x is disclosed, or was not there", other)
				}
			}
			if bytes.Contains(x.s.Box, key) {
				t.Fatal("the box has its own key in it")
			}
		}
	})
}

func TestNoEventKey(t *testing.T) {
	v, key, id := fixed(), event.ID{1, 1}, event.NewID(november)
	old := sealedWith(t, v, event.SealV1, key, id)
	if k, err := v.EventKey("acme", id, &old); err == nil || !strings.Contains(err.Error(), "opens other events too") {
		t.Errorf("version 1 gave %x, %v", k, err)
	}
	s := sealedWith(t, v, event.SealV2, key, id)
	for name, change := range map[string]func(*event.Sealed){
		"altered":         func(s *event.Sealed) { s.Box[50] ^= 1 },
		"another promise": func(s *event.Sealed) { s.Box[0] ^= 1 },
		"another subject": func(s *event.Sealed) { s.SubjectKey[3] ^= 1 },
		"version 1's":     func(s *event.Sealed) { s.Box = old.Box },
	} {
		x := s
		x.Box = bytes.Clone(s.Box)
		change(&x)
		if k, err := v.EventKey("acme", id, &x); !errors.Is(err, seal.ErrAltered) || k != nil {
			t.Errorf("%s gave %x, %v", name, k, err)
		}
	}
	x := s
	x.Version = 3
	if _, err := v.EventKey("acme", id, &x); err == nil || !strings.Contains(err.Error(), "version 3") {
		t.Errorf("version 3 gave %v", err)
	}
	if _, err := v.Seal("acme", key, ledger.ClassMessage, 3, id, nil); err == nil {
		t.Error("version 3 was sealed")
	}
	v = fixed()
	v.secretOf = func(event.ID) ([keySize]byte, error) { return [keySize]byte{}, ledger.ErrKeyMissing }
	if _, err := v.EventKey("acme", id, &s); !errors.Is(err, ledger.ErrKeyMissing) {
		t.Errorf("without the key: %v", err)
	}
}

func sealedWith(t *testing.T, v *sealing, version event.SealVersion, key, id event.ID) event.Sealed {
	t.Helper()
	s, err := v.Seal("acme", key, ledger.ClassMessage, version, id, []byte("a body"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is sealed is a promise: these boxes, of both versions, open for ever, and so does what the key of an
// event opens.
func TestGoldenBoxes(t *testing.T) {
	type golden struct {
		Tenant string       `json:"tenant"`
		ID     event.ID     `json:"id"`
		Plain  string       `json:"plain"`
		Key    []byte       `json:"key,omitempty"` // of the event
		Sealed event.Sealed `json:"sealed"`
	}
	for _, version := range versions {
		file := filepath.Join("testdata", fmt.Sprintf("seal-v%d.json", max(1, version)))
		raw, err := os.ReadFile(file)
		if os.IsNotExist(err) && *update {
			g := golden{"acme", event.NewID(november), `{"to":"+13055550123","body":"Your code is 123456"}`, nil, event.Sealed{}}
			subject := event.NewID(november)
			if g.Sealed, err = fixed().Seal(g.Tenant, subject, ledger.ClassMessage, version, g.ID, []byte(g.Plain)); err != nil {
				t.Fatal(err)
			}
			if version == event.SealV2 {
				if g.Key, err = fixed().EventKey(g.Tenant, g.ID, &g.Sealed); err != nil {
					t.Fatal(err)
				}
			}
			raw, err = json.MarshalIndent(g, "", "\t")
			if err := errors.Join(err, os.MkdirAll("testdata", 0o755), os.WriteFile(file, append(raw, '\n'), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var g golden
		if err := errors.Join(err, json.Unmarshal(raw, &g)); err != nil {
			t.Fatal(err)
		}
		v := fixed()
		if got, err := v.Open(g.Tenant, g.ID, &g.Sealed); err != nil || string(got) != g.Plain {
			t.Errorf("version %d opened %q, %v", version, got, err)
		}
		if version != event.SealV2 {
			continue
		}
		if key, err := v.EventKey(g.Tenant, g.ID, &g.Sealed); err != nil || !bytes.Equal(key, g.Key) {
			t.Errorf("the event's key is %x, %v; want %x", key, err, g.Key)
		}
		// With the nonce that it was sealed with, the same box.
		context := seal.Context(g.Tenant, g.ID, &g.Sealed)
		nonce := g.Sealed.Box[seal.CommitmentSize : seal.CommitmentSize+seal.NonceSize]
		if box := seal.New(g.Key, context).Seal(nonce, []byte(g.Plain)); !bytes.Equal(box, g.Sealed.Box) {
			t.Errorf("sealed %x, want %x", box, g.Sealed.Box)
		}
	}
}

// What is derived is what crypto/hkdf and crypto/hmac give.
func TestDerivations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, text, more := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "text"), rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "more")
		m := hmac.New(sha256.New, key)
		m.Write(text)
		m.Write(more)
		if got := hmacSHA256(key, text, more); !bytes.Equal(got[:], m.Sum(nil)) {
			t.Fatalf("%x", got)
		}
		extracted, err := hkdf.Extract(sha256.New, text, key)
		if got := extract(text, key); len(key) > 0 && (err != nil || !bytes.Equal(got[:], extracted)) {
			t.Fatalf("%x, want %x (%v)", got, extracted, err)
		}
		root, info := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "root"), rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "info")
		want, err := hkdf.Expand(sha256.New, root, string(info), 32)
		if got := expand(root, info); err != nil || !bytes.Equal(got[:], want) {
			t.Fatalf("%x, want %x (%v)", got, want, err)
		}
	})
}

// Two seals of one text are two boxes: the nonce is drawn each time.
func TestNonces(t *testing.T) {
	v, key, id := fixed(), event.ID{1, 1}, event.NewID(november)
	seen := map[string]bool{}
	for range 1000 {
		s := sealedWith(t, v, event.SealV2, key, id)
		nonce := string(s.Box[seal.CommitmentSize : seal.CommitmentSize+seal.NonceSize])
		if seen[nonce] {
			t.Fatal("a nonce came twice")
		}
		seen[nonce] = true
	}
}

// FuzzOpen: nothing that stands in an event makes Open panic.
func FuzzOpen(f *testing.F) {
	v, key, id := fixed(), event.ID{1, 1}, event.NewID(november)
	for _, version := range versions {
		s, err := v.Seal("acme", key, ledger.ClassMessage, version, id, []byte("a body"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int(version), "acme", id[:], key[:], s.ClassKey, s.Box)
		f.Add(int(version), "", []byte{}, []byte{}, "", []byte{})
	}
	f.Add(3, "acme", id[:], key[:], "message/2026-11", make([]byte, 100))
	f.Fuzz(func(t *testing.T, version int, tenant string, id, key []byte, class string, box []byte) {
		s := event.Sealed{Version: event.SealVersion(version), ClassKey: class, Box: box}
		copy(s.SubjectKey[:], key)
		var at event.ID
		copy(at[:], id)
		before := bytes.Clone(box)
		plain, err := v.Open(tenant, at, &s)
		ek, keyErr := v.EventKey(tenant, at, &s)
		if keyErr == nil && (err != nil || version != int(event.SealV2)) {
			t.Errorf("a key of what does not open: %v", err)
		}
		if keyErr == nil {
			if alone, err := seal.Open(ek, tenant, at, &s); err != nil || !bytes.Equal(alone, plain) {
				t.Errorf("the vault opens %q, and the event's key %q, %v", plain, alone, err)
			}
		}
		if !bytes.Equal(before, box) {
			t.Error("the box was changed")
		}
	})
}
