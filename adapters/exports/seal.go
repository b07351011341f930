package exports

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/chirograph/chirograph/domain/event"
)

// A sealed file is
//
//	magic     20 bytes
//	salt      32 random bytes, new for every attempt to make the file
//	chunks    of 65,536 bytes of plain text, the last one shorter (or empty), each with a tag of 16 bytes
//
// A chunk is sealed with AES-256-GCM, under the key that HKDF-SHA256 derives from the file's key and the
// salt. Its nonce is its number (11 bytes, big-endian) and a byte that is 1 for the last chunk, so that a
// chunk cannot be moved and the file cannot be cut off (Hoang, Reyhanitabar, Rogaway and Vizár 2015,
// STREAM). It is bound to the magic and the export's id.
const (
	magic     = "chirograph export 1\n"
	saltSize  = 32
	chunkSize = 64 << 10
	tagSize   = 16
)

// sealing is what both directions have: the cipher, and the number of the next chunk.
type sealing struct {
	aead  cipher.AEAD
	bound []byte
	next  uint64
}

func newSealing(key, salt []byte, id event.ID) (sealing, error) {
	if len(key) != 32 {
		return sealing{}, errors.New("the key of an export has 32 bytes")
	}
	k, err := hkdf.Key(sha256.New, key, salt, "chirograph export: file", 32)
	if err != nil {
		return sealing{}, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return sealing{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealing{aead: aead, bound: append([]byte(magic), id[:]...)}, err
}

func (s *sealing) nonce(last bool) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[3:11], s.next)
	if last {
		n[11] = 1
	}
	s.next++
	return n[:]
}

// sealer seals what is written to it.
type sealer struct {
	sealing
	to    io.Writer
	plain []byte // not sealed yet, at most one chunk
	box   []byte // room
	err   error
}

func newSealer(to io.Writer, key []byte, id event.ID) (*sealer, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	s, err := newSealing(key, salt, id)
	if err != nil {
		return nil, err
	}
	if _, err := to.Write(append([]byte(magic), salt...)); err != nil {
		return nil, err
	}
	return &sealer{sealing: s, to: to, plain: make([]byte, 0, chunkSize), box: make([]byte, 0, chunkSize+tagSize)}, nil
}

// Write is part of io.Writer.
func (s *sealer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && s.err == nil {
		// A full chunk is sealed only once more comes, so that the last one is known as the last.
		if len(s.plain) == chunkSize {
			s.flush(false)
			continue
		}
		room := min(chunkSize-len(s.plain), len(p))
		s.plain = append(s.plain, p[:room]...)
		p, n = p[room:], n+room
	}
	return n, s.err
}

func (s *sealer) flush(last bool) {
	s.box = s.aead.Seal(s.box[:0], s.nonce(last), s.plain, s.bound)
	s.plain = s.plain[:0]
	if _, err := s.to.Write(s.box); s.err == nil {
		s.err = err
	}
}

// end seals the last chunk.
func (s *sealer) end() error {
	if s.err == nil {
		s.flush(true)
	}
	return s.err
}

// unsealer reads what a sealer wrote.
type unsealer struct {
	sealing
	from  *bufio.Reader
	plain []byte // opened and not read yet
	box   []byte // room
	err   error
}

func newUnsealer(from io.Reader, key []byte, id event.ID) (*unsealer, error) {
	r := bufio.NewReaderSize(from, chunkSize+tagSize)
	head := make([]byte, len(magic)+saltSize)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(magic)]) != magic {
		return nil, errors.New("this is no sealed export, or its beginning is missing")
	}
	s, err := newSealing(key, head[len(magic):], id)
	if err != nil {
		return nil, err
	}
	return &unsealer{sealing: s, from: r, box: make([]byte, chunkSize+tagSize)}, nil
}

// Read is part of io.Reader.
func (u *unsealer) Read(p []byte) (int, error) {
	for len(u.plain) == 0 && u.err == nil {
		u.plain, u.err = u.chunk()
	}
	n := copy(p, u.plain)
	u.plain = u.plain[n:]
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, u.err
}

// chunk opens the next chunk. With the last one it returns io.EOF.
func (u *unsealer) chunk() ([]byte, error) {
	n, err := io.ReadFull(u.from, u.box)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	last := err != nil
	if !last {
		switch _, err := u.from.Peek(1); {
		case errors.Is(err, io.EOF):
			last = true
		case err != nil:
			return nil, err
		}
	}
	number := u.next
	plain, err := u.aead.Open(u.box[:0], u.nonce(last), u.box[:n], u.bound)
	if err != nil {
		return nil, fmt.Errorf("chunk %d of the export does not open: the file was altered or cut off, or belongs to another export", number)
	}
	if last {
		return plain, io.EOF
	}
	return plain, nil
}
