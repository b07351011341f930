package sqlitelog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"
)

// A commit is one row of the table commits: (id, dir, body). The ids are 1, 2, 3, …
//
//	dir   for each partition (inbox, control, 00, 01, …), as uvarints: its head after the commit, how many events the commit adds to
//	      it, and how many bytes its segment has · CRC-32C of the body, 4 bytes ·
//	      CRC-32C of the id (8 bytes) and of dir so far, 4 bytes
//	body  the segments, in the order of the partitions; a segment is its events, each
//	      its length as a uvarint and its bytes. Or, packed: the octet 0, with which no
//	      length begins, and the segments as a block of S2. The sizes in dir are those
//	      of the segments, and the CRC is that of what is stored
//
// Every row has the heads of all partitions, so the commit of a position is found by a
// binary search over ids: no index is needed, and no row for each event or partition.
// dir comes before body in the row, so that a search reads no pages of bodies.
// CRCs are big-endian.
//
// The table audit has rows of the same form, with ids of their own and one partition, audit. A
// commit that has events of both is a row in each, in one transaction. It is a table of its own
// because of the ledgers that are older than the audit log: their rows stay as they are, and a
// chirograph that does not know the table can open the ledger and add to it.

// Files of format 1 have no packed bodies. Rows of both kinds may be in a file of format 2: a file of format 1 becomes one with
// the first commit that is added, and its rows stay as they are.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one partition's events in one commit.
type segment struct {
	head  int64 // after the commit
	count int64
	size  int64
}

func appendDir(b []byte, id int64, segments []segment, body []byte) []byte {
	for _, s := range segments {
		b = binary.AppendUvarint(b, uint64(s.head))
		b = binary.AppendUvarint(b, uint64(s.count))
		b = binary.AppendUvarint(b, uint64(s.size))
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return binary.BigEndian.AppendUint32(b, dirSum(id, b))
}

func dirSum(id int64, dir []byte) uint32 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(id))
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, dir)
}

var (
	errDir  = errors.New("its directory does not match its checksum")
	errBody = errors.New("its events do not match their checksum")
)

// parseDir checks a row's dir and returns its segments and the body's checksum.
func parseDir(id int64, dir []byte, partitions int) ([]segment, uint32, error) {
	n := len(dir) - 4
	if n < 4 || binary.BigEndian.Uint32(dir[n:]) != dirSum(id, dir[:n]) {
		return nil, 0, errDir
	}
	sum := binary.BigEndian.Uint32(dir[n-4:])
	rest := dir[:n-4]
	segments := make([]segment, partitions)
	for i := range segments {
		for _, v := range [3]*int64{&segments[i].head, &segments[i].count, &segments[i].size} {
			u, k := binary.Uvarint(rest)
			if k <= 0 || u > 1<<62 {
				return nil, 0, errDir
			}
			*v, rest = int64(u), rest[k:]
		}
		if segments[i].count > segments[i].head {
			return nil, 0, errDir
		}
	}
	if len(rest) != 0 {
		return nil, 0, errDir
	}
	return segments, sum, nil
}

// packedMark is the first octet of a packed body. Its first event would have no octets.
const packedMark = 0

// mostPacked bounds what is packed, and so what a row that is read takes in memory. A larger body stays as it is.
const mostPacked = 64 << 20

// pack returns a body as it is stored: packed, if that is smaller. room is used for that, and may grow.
func pack(room *[]byte, body []byte) []byte {
	if len(body) > mostPacked {
		return body
	}
	*room = slices.Grow((*room)[:0], 1+s2.MaxEncodedLen(len(body)))
	b := (*room)[:cap(*room)]
	b[0] = packedMark
	if n := len(s2.Encode(b[1:], body)); n+1 < len(body) {
		return b[:n+1]
	}
	return body
}

// unpack returns the segments of a body as it is stored.
func unpack(stored []byte, segments []segment) ([]byte, error) {
	if len(stored) == 0 || stored[0] != packedMark {
		return stored, nil
	}
	size := int64(0)
	for _, s := range segments {
		size += s.size
	}
	if n, err := s2.DecodedLen(stored[1:]); err != nil || n > mostPacked || int64(n) != size {
		return nil, errBody
	}
	body, err := s2.Decode(nil, stored[1:])
	if err != nil {
		return nil, errBody
	}
	return body, nil
}

// split cuts a segment of a checked body into its events.
func split(body []byte, segments []segment, which int) ([][]byte, error) {
	at := int64(0)
	for _, s := range segments[:which] {
		at += s.size
	}
	s := segments[which]
	if at+s.size > int64(len(body)) {
		return nil, errBody
	}
	rest := body[at : at+s.size : at+s.size]
	raws := make([][]byte, 0, s.count)
	for range s.count {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return nil, errBody
		}
		raws = append(raws, rest[k:k+int(n):k+int(n)])
		rest = rest[k+int(n):]
	}
	if len(rest) != 0 {
		return nil, errBody
	}
	return raws, nil
}
