package seal

import (
	"bytes"
	"crypto/aes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
)

var update = flag.Bool("update", false, "write the golden box if it is missing")

// filled are n bytes that count up from a first one.
func filled(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

var (
	someKey   = filled(KeySize, 0x10)
	someNonce = filled(NonceSize, 0xa0)
	someID    = event.ID(filled(16, 0x40))
)

// made is a Sealed whose box is sealed under a key.
func made(key, nonce []byte, tenant string, id event.ID, subject event.ID, class string, plain []byte) event.Sealed {
	s := event.Sealed{Version: event.SealV2, SubjectKey: subject, ClassKey: class}
	s.Box = New(key, Context(tenant, id, &s)).Seal(nonce, plain)
	return s
}

func some(plain string) event.Sealed {
	return made(someKey, someNonce, "acme", someID, event.ID(filled(16, 0x60)), "message/2026-11", []byte(plain))
}

func TestWhatIsSealedOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := func(name string, n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) }
		key, tenant, class := of("key", KeySize), rapid.String().Draw(t, "tenant"), rapid.String().Draw(t, "class")
		id, plain := event.ID(of("id", 16)), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
		s := made(key, of("nonce", NonceSize), tenant, id, event.ID(of("subject", 16)), class, plain)
		got, err := Open(key, tenant, id, &s)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened %q, %v", got, err)
		}
		if len(s.Box) != CommitmentSize+NonceSize+len(plain)+tagSize {
			t.Errorf("a box of %d bytes for %d", len(s.Box), len(plain))
		}
	})
}

// Whatever bit of the key, the box, or what the box is for is changed, it does not open.
func TestEveryBitCounts(t *testing.T) {
	whole := some("a body")
	refused := func(what string, key []byte, tenant string, id event.ID, s event.Sealed) {
		t.Helper()
		if plain, err := Open(key, tenant, id, &s); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: opened %q, %v", what, plain, err)
		}
	}
	// bits calls f with each copy of b that differs in one bit.
	bits := func(b []byte, f func(i int, changed []byte)) {
		for i := range len(b) * 8 {
			changed := bytes.Clone(b)
			changed[i/8] ^= 1 << (i % 8)
			f(i, changed)
		}
	}
	bits(someKey, func(i int, b []byte) { refused(fmt.Sprint("key, bit ", i), b, "acme", someID, whole) })
	bits(whole.Box, func(i int, b []byte) {
		s := whole
		s.Box = b
		refused(fmt.Sprint("box, bit ", i), someKey, "acme", someID, s)
	})
	bits([]byte("acme"), func(i int, b []byte) { refused(fmt.Sprint("tenant, bit ", i), someKey, string(b), someID, whole) })
	bits(someID[:], func(i int, b []byte) {
		refused(fmt.Sprint("id, bit ", i), someKey, "acme", event.ID(b), whole)
	})
	bits(whole.SubjectKey[:], func(i int, b []byte) {
		s := whole
		s.SubjectKey = event.ID(b)
		refused(fmt.Sprint("subject, bit ", i), someKey, "acme", someID, s)
	})
	bits([]byte(whole.ClassKey), func(i int, b []byte) {
		s := whole
		s.ClassKey = string(b)
		refused(fmt.Sprint("class, bit ", i), someKey, "acme", someID, s)
	})
	for n := range whole.Box {
		s := whole
		s.Box = whole.Box[:n]
		refused(fmt.Sprint("cut to ", n), someKey, "acme", someID, s)
	}
	moved := whole // the tenant's end at the class's beginning
	moved.ClassKey = "e" + whole.ClassKey
	refused("names that run into each other", someKey, "acm", someID, moved)
	for _, version := range []event.SealVersion{0, 1, 3, -2} {
		s := whole
		s.Version = version
		if _, err := Open(someKey, "acme", someID, &s); err == nil {
			t.Errorf("opened as version %d", version)
		}
	}
	for _, key := range [][]byte{nil, someKey[:31], append(bytes.Clone(someKey), 0)} {
		if _, err := Open(key, "acme", someID, &whole); err == nil {
			t.Errorf("opened with a key of %d bytes", len(key))
		}
	}
}

// GCM promises nothing about a second key: here is one box that it opens under two, to two texts. The
// commitment is what refuses it.
func TestNoSecondKeyOpensABox(t *testing.T) {
	s := some("")
	context := Context("acme", someID, &s)
	one, two := New(someKey, context), New(filled(KeySize, 0x77), context)
	forged := openToBoth(t, [2]*Cipher{one, two}, [2][]byte{someKey, filled(KeySize, 0x77)}, context)
	var texts [2][]byte
	for i, c := range []*Cipher{one, two} {
		var err error
		if texts[i], err = c.aead.Open(nil, someNonce, forged, context); err != nil {
			t.Fatalf("the forgery does not open under key %d, so this test shows nothing", i)
		}
	}
	if bytes.Equal(texts[0], texts[1]) {
		t.Fatal("the two texts are one")
	}
	s.Box = append(append(bytes.Clone(one.commitment[:]), someNonce...), forged...)
	if plain, err := Open(someKey, "acme", someID, &s); err != nil || !bytes.Equal(plain, texts[0]) {
		t.Errorf("the key that the box commits to opened %q, %v", plain, err)
	}
	if plain, err := Open(filled(KeySize, 0x77), "acme", someID, &s); !errors.Is(err, ErrAltered) {
		t.Errorf("a second key opened %q, %v", plain, err)
	}

	// Small changes of the key.
	s = some("a body")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		key := bytes.Clone(someKey)
		for range 1 + rng.IntN(4) {
			key[rng.IntN(len(key))] ^= byte(1 + rng.IntN(255))
		}
		if _, err := Open(key, "acme", someID, &s); err == nil && !bytes.Equal(key, someKey) {
			t.Fatalf("the key %x opens the box too", key)
		}
	}
}

// openToBoth makes a ciphertext that AES-GCM takes for whole under both keys: its last block is solved for.
// The tag is linear in a block of ciphertext, in GF(2^128).
func openToBoth(t *testing.T, ciphers [2]*Cipher, keys [2][]byte, context []byte) []byte {
	c := append(filled(32, 0x30), make([]byte, 16)...) // the last block is yet to be solved
	tag := func(i int) []byte {
		stream := ciphers[i].aead.Seal(nil, someNonce, make([]byte, len(c)), nil)[:len(c)]
		plain := make([]byte, len(c))
		for j := range plain {
			plain[j] = stream[j] ^ c[j]
		}
		return ciphers[i].aead.Seal(nil, someNonce, plain, context)[len(c):]
	}
	var sum, h [2]block
	for i := range ciphers {
		k := digest("chirograph seal 2 key", keys[i], nil)
		aes, err := aes.NewCipher(k[:])
		if err != nil {
			t.Fatal(err)
		}
		aes.Encrypt(h[i][:], h[i][:])
		h[i] = h[i].times(h[i]) // the last block is multiplied by H twice
		sum[i] = block(tag(i))
	}
	// tag 0 = tag 1, so x·(h0+h1) = sum0+sum1.
	x := sum[0].plus(sum[1]).times(h[0].plus(h[1]).inverse())
	copy(c[32:], x[:])
	if !bytes.Equal(tag(0), tag(1)) {
		t.Fatal("the block was not solved for")
	}
	return append(c, tag(0)...)
}

// block is an element of GF(2^128) in GCM's order of bits.
type block [16]byte

func (a block) plus(b block) block {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

func (a block) times(b block) (z block) {
	for i := range 128 {
		if a[i/8]>>(7-i%8)&1 == 1 {
			z = z.plus(b)
		}
		carry := b[15] & 1
		for j := 15; j > 0; j-- {
			b[j] = b[j]>>1 | b[j-1]<<7
		}
		b[0] = b[0]>>1 ^ carry*0xe1
	}
	return z
}

// inverse is a^(2^128-2).
func (a block) inverse() block {
	z := block{0x80} // 1
	for range 127 {
		a = a.times(a)
		z = z.times(a)
	}
	return z
}

// golden is a box of the ledger, for ever.
type golden struct {
	Key    string       `json:"key"`
	Tenant string       `json:"tenant"`
	ID     event.ID     `json:"id"`
	Nonce  string       `json:"nonce"`
	Plain  string       `json:"plain"`
	Sealed event.Sealed `json:"sealed"`
}

// The bytes of a box are a promise: a change here opens nothing that was disclosed before.
func TestGolden(t *testing.T) {
	const file = "testdata/v2.json"
	const plain = `{"to":"+13055550123","body":"Your code is 123456"}`
	s := some(plain)
	raw, err := os.ReadFile(file)
	if os.IsNotExist(err) && *update {
		raw, err = json.MarshalIndent(golden{hex.EncodeToString(someKey), "acme", someID, hex.EncodeToString(someNonce), plain, s}, "", "\t")
		if err := errors.Join(err, os.MkdirAll("testdata", 0o755), os.WriteFile(file, append(raw, '\n'), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var g golden
	if err := errors.Join(err, json.Unmarshal(raw, &g)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Sealed.Box, s.Box) {
		t.Errorf("sealed\n%x, want\n%x", s.Box, g.Sealed.Box)
	}
	key, err := hex.DecodeString(g.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(key, g.Tenant, g.ID, &g.Sealed); err != nil || string(got) != g.Plain {
		t.Errorf("opened %q, %v", got, err)
	}
}

// The program in docs/verify.md, which is written in another language from the description there, opens a box of
// ours, and refuses one that was altered.
func TestTheProgramInTheDocuments(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```python\n")
	program, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatal("docs/verify.md has no program in Python")
	}
	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		t.Skip("python3 with its package cryptography is not here")
	}
	const plain = `{"to":"+13055550123","body":"Grüße <&>"}`
	run := func(change func(*event.Event)) (string, error) {
		e := &event.Event{ID: someID, Source: "/k3v9", Subject: event.Pseudonym{1}, Time: event.Millis(time.UnixMilli(1_795_507_200_000)), Tenant: "acme", Node: "a",
			Data: &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 6, From: "ACME", Encoding: "gsm7", Segments: 1, Sealed: some(plain)}}
		change(e)
		line, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("python3", "-c", program, hex.EncodeToString(someKey))
		cmd.Stdin = bytes.NewReader(append(line, '\n'))
		out, err := cmd.Output()
		return string(out), err
	}
	if out, err := run(func(*event.Event) {}); err != nil || out != plain+"\n" {
		t.Errorf("it said %q, %v", out, err)
	}
	for name, change := range map[string]func(*event.Event){
		"another tenant":  func(e *event.Event) { e.Tenant = "bank" },
		"another id":      func(e *event.Event) { e.ID[15] ^= 1 },
		"another box":     func(e *event.Event) { e.Data.(*event.MessageSubmitted).Sealed.Box[50] ^= 1 },
		"another promise": func(e *event.Event) { e.Data.(*event.MessageSubmitted).Sealed.Box[0] ^= 1 },
	} {
		if out, err := run(change); err == nil {
			t.Errorf("%s: it said %q", name, out)
		}
	}
}

// FuzzOpen: no box, name or key makes Open panic, and only what was sealed opens.
func FuzzOpen(f *testing.F) {
	s := some("a body")
	f.Add(someKey, "acme", someID[:], s.SubjectKey[:], s.ClassKey, s.Box)
	f.Add([]byte{}, "", []byte{}, []byte{}, "", []byte{})
	f.Add(someKey, strings.Repeat("x", 70_000), someID[:], s.SubjectKey[:], s.ClassKey, s.Box[:CommitmentSize+NonceSize])
	f.Fuzz(func(t *testing.T, key []byte, tenant string, id, subject []byte, class string, box []byte) {
		x := event.Sealed{Version: event.SealV2, ClassKey: class, Box: box}
		copy(x.SubjectKey[:], subject)
		var at event.ID
		copy(at[:], id)
		plain, err := Open(key, tenant, at, &x)
		if err != nil {
			return
		}
		again := made(key, box[CommitmentSize:CommitmentSize+NonceSize], tenant, at, x.SubjectKey, class, plain)
		if !bytes.Equal(again.Box, box) {
			t.Errorf("the box %s opens, and is not what sealing makes", base64.StdEncoding.EncodeToString(box))
		}
	})
}
