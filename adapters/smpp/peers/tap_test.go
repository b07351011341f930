package peers_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// tap passes connections on to a centre, and keeps what both sides write.
type tap struct {
	addr string

	mu    sync.Mutex
	conns []*tapped
}

// tapped is one connection.
type tapped struct{ chunks []chunk }

// chunk is what one read gave.
type chunk struct {
	client bool // the client wrote it, not the centre
	at     time.Time
	octets []byte
}

// newTap listens until the test ends. The test's client and centre end before it.
func newTap(t *testing.T, centre string) *tap {
	t.Helper()
	l := listen(t)
	p := &tap{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conn := &tapped{}
			p.mu.Lock()
			p.conns = append(p.conns, conn)
			p.mu.Unlock()
			wg.Go(func() { p.pass(conn, c, centre) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return p
}

func (p *tap) pass(conn *tapped, c net.Conn, centre string) {
	defer c.Close()
	s, err := net.Dial("tcp", centre)
	if err != nil {
		return
	}
	defer s.Close()
	var wg sync.WaitGroup
	copyFrom := func(from, to net.Conn, client bool) {
		defer from.Close()
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				p.mu.Lock()
				conn.chunks = append(conn.chunks, chunk{client, time.Now(), bytes.Clone(buf[:n])})
				p.mu.Unlock()
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	wg.Go(func() { copyFrom(c, s, true) })
	wg.Go(func() { copyFrom(s, c, false) })
	wg.Wait()
}

// frames are the PDUs that the client, or the centre, wrote over all connections, in order.
func (p *tap) frames(t testing.TB, client bool) (out [][]byte) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		var all []byte
		for _, c := range conn.chunks {
			if c.client == client {
				all = append(all, c.octets...)
			}
		}
		r := wire.NewReader(bytes.NewReader(all))
		for {
			frame, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && client {
					t.Errorf("what the client wrote cannot be cut into PDUs: %v", err)
				}
				break
			}
			out = append(out, bytes.Clone(frame))
		}
	}
	return out
}

// centrePort is the port of the centre in a capture, which none of the dissector's defaults has.
const centrePort = 20775

// capture writes the connections as a pcap file: Ethernet, IPv4 and TCP frames around the octets. Their lengths,
// checksums and sequence numbers are as they would be on a wire.
func (p *tap) capture() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []byte
	le := binary.LittleEndian
	out = le.AppendUint32(out, 0xa1b2c3d4)
	out = le.AppendUint16(out, 2)
	out = le.AppendUint16(out, 4)
	out = append(out, 0, 0, 0, 0, 0, 0, 0, 0)
	out = le.AppendUint32(out, 1<<18) // the most octets of a frame
	out = le.AppendUint32(out, 1)     // Ethernet
	for i, conn := range p.conns {
		c := tcpConn{port: uint16(30000 + i), sequence: [2]uint32{1000, 9000}}
		frame := func(at time.Time, from int, flags byte, octets []byte) {
			f := c.frame(from, flags, octets)
			out = le.AppendUint32(out, uint32(at.Unix()))
			out = le.AppendUint32(out, uint32(at.Nanosecond()/1000))
			out = le.AppendUint32(out, uint32(len(f)))
			out = append(le.AppendUint32(out, uint32(len(f))), f...)
		}
		for k, chunk := range conn.chunks {
			if k == 0 {
				frame(chunk.at, byClient, syn, nil)
				frame(chunk.at, byCentre, syn|ack, nil)
				frame(chunk.at, byClient, ack, nil)
			}
			from := byCentre
			if chunk.client {
				from = byClient
			}
			for rest := chunk.octets; len(rest) > 0; {
				n := min(len(rest), 1400) // a PDU may lie in several frames
				frame(chunk.at, from, ack|push, rest[:n])
				rest = rest[n:]
			}
		}
	}
	return out
}

const (
	byClient, byCentre = 0, 1
	syn                = 0x02
	push               = 0x08
	ack                = 0x10
)

// tcpConn is the state of both ends of a connection.
type tcpConn struct {
	port     uint16
	sequence [2]uint32
}

// frame is one frame from an end.
func (c *tcpConn) frame(from int, flags byte, octets []byte) []byte {
	ports := [2]uint16{c.port, centrePort}
	addrs := [2][4]byte{{127, 0, 0, 2}, {127, 0, 0, 3}}
	be := binary.BigEndian
	tcp := be.AppendUint16(nil, ports[from])
	tcp = be.AppendUint16(tcp, ports[1-from])
	tcp = be.AppendUint32(tcp, c.sequence[from])
	acknowledged := c.sequence[1-from]
	if flags&ack == 0 {
		acknowledged = 0
	}
	tcp = be.AppendUint32(tcp, acknowledged)
	tcp = append(tcp, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	tcp = append(tcp, octets...)
	pseudo := append(append(append([]byte{}, addrs[from][:]...), addrs[1-from][:]...), 0, 6)
	pseudo = be.AppendUint16(pseudo, uint16(len(tcp)))
	be.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	ip := be.AppendUint16([]byte{0x45, 0}, uint16(20+len(tcp)))
	ip = append(ip, 0, 0, 0x40, 0, 64, 6, 0, 0)
	ip = append(append(ip, addrs[from][:]...), addrs[1-from][:]...)
	be.PutUint16(ip[10:], checksum(ip))
	c.sequence[from] += uint32(len(octets))
	if flags&syn != 0 {
		c.sequence[from]++
	}
	eth := append(bytes.Repeat([]byte{2, 0, 0, 0, 0, byte(from)}, 2), 8, 0)
	return append(append(eth, ip...), tcp...)
}

// checksum is that of IP and TCP.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
