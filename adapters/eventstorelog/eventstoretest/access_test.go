package eventstoretest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Who may do what: Transport/Http/AuthenticationMiddleware.cs, LegacyPolicySelectorFactory.cs,
// LegacyStreamPermissionAssertion.cs, Data/SystemSettings.cs (defaults), Data/StreamMetadata.cs ($acl).
func TestAccess(t *testing.T) {
	server, ca, err := Certificate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{TLS: server, User: "admin", Password: "ch:ang/eit", Users: map[string]string{"joe": "1"}})
	fill(s, "s", 1)
	fill(s, "mine", 1)
	describe(s, "mine", `{"$acl":{"$r":"joe","$w":["ann","bob"],"$mr":"$all"}}`)
	fill(s, "closed", 1)
	describe(s, "closed", `{"$acl":{"$r":[],"$d":[]}}`)
	fill(s, "open", 1)
	describe(s, "open", `{"$acl":{"$w":"$all"}}`)
	tls, err := credentials.NewClientTLSFromFile(file, "")
	if err != nil {
		t.Fatal(err)
	}
	nobody := dial(t, s, grpc.WithTransportCredentials(tls))
	basic := func(user string) *raw {
		return nobody.with("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user)))
	}
	admin, joe := basic("admin:ch:ang/eit"), basic("joe:1")
	const denied = "PermissionDenied access-denied"
	read := func(r *raw, stream string) string {
		return r.all(query{stream: stream, from: "end", count: 1, backwards: true})
	}
	for name, tt := range map[string]struct{ got, want string }{
		"nobody reads":              {read(nobody, "s"), denied},
		"nobody writes":             {nobody.append("s", "any", "a"), denied},
		"nobody deletes":            {nobody.delete("delete", "s", "any"), denied},
		"another scheme":            {read(nobody.with("authorization", "Bearer x"), "s"), denied},
		"a wrong password":          {read(basic("admin:changeit"), "s"), "Unauthenticated"},
		"a user who is not":         {read(basic("ann:1"), "s"), "Unauthenticated"},
		"a wrong password, write":   {basic("joe:2").append("s", "any", "a"), "Unauthenticated"},
		"a wrong password, delete":  {basic("joe:2").delete("delete", "s", "any"), "Unauthenticated"},
		"a user reads":              {read(joe, "s"), "0 ."},
		"a user writes":             {joe.append("s", "any", "b"), "1"},
		"a user writes metadata":    {joe.append("$$s", "any", "c"), "0"},
		"a user's own stream":       {read(joe, "mine"), "0 ."},
		"another's stream":          {joe.append("mine", "any", "d"), denied},
		"metadata for all":          {read(joe, "$$mine"), "0 ."},
		"a closed stream":           {read(joe, "closed"), denied},
		"a stream not to delete":    {joe.delete("tombstone", "closed", "any"), denied},
		"a stream open to all":      {joe.append("open", "any", "e"), "1"},
		"a user in the system":      {joe.append("$s", "any", "f"), denied},
		"a user reads the system":   {read(joe, "$s"), denied},
		"a user, system metadata":   {joe.append("$$$s", "any", "g"), denied},
		"a user reads all":          {joe.all(query{from: "end", count: 1}), denied},
		"a user follows all":        {joe.all(query{from: "end", count: -1}), denied},
		"the admin, closed":         {read(admin, "closed"), "0 ."},
		"the admin in the system":   {admin.append("$s", "any", "h"), "0"},
		"the admin reads all":       {admin.all(query{from: "end", count: 1}), "."},
		"the admin writes all":      {admin.append("$all", "any", "i"), denied},
		"the admin, metadata gone":  {admin.delete("delete", "$$s", "any"), denied},
		"the admin, no stream name": {admin.append("", "any", "j"), denied},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, not %s", name, tt.got, tt.want)
		}
	}
	// Who leads and what the server can do, everybody may ask.
	if _, err := nobody.gossip.Read(nobody.ctx, &shared.Empty{}); err != nil {
		t.Error(err)
	}

	wants := s.Connection() + "&tlsCaFile=" + file
	if !strings.HasPrefix(wants, "esdb://admin:") || strings.Contains(wants, "ch:ang/eit") {
		t.Errorf("connection %s", wants)
	}
	c := client(t, wants)
	if w, err := c.AppendToStream(within(t), "$s", esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "t"}); err != nil || w.NextExpectedVersion != 1 {
		t.Errorf("%+v, %v", w, err)
	}
	_, err = c.AppendToStream(within(t), "s", esdb.AppendToStreamOptions{Authenticated: &esdb.Credentials{Login: "joe", Password: "x"}}, esdb.EventData{EventType: "t"})
	if e, _ := esdb.FromError(err); e == nil || e.Code() != esdb.ErrorCodeUnauthenticated {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for name, opts := range map[string]Options{
		"a user without TLS": {User: "admin"},
		"users without TLS":  {Users: map[string]string{"joe": "1"}},
		"too large":          {MaxAppendSize: 17 << 20},
		"below nothing":      {KnownIDs: -1},
		"no address":         {Address: "nowhere"},
	} {
		if s, err := Start(opts); err == nil {
			s.Close()
			t.Errorf("%s: it was started", name)
		}
	}
	if _, err := StartCluster(0, Options{}); err == nil {
		t.Error("a cluster of none was started")
	}
}

// What the server says of itself: Grpc/ServerFeatures.cs.
func TestFeatures(t *testing.T) {
	s := start(t, Options{Version: "23.10.1"})
	c := client(t, s.Connection())
	v, err := c.GetServerVersion()
	if err != nil || v.Major != 23 || v.Minor != 10 || v.Patch != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	once(s, Features, NoLeaderInfo)
	cc, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := serverfeatures.NewServerFeaturesClient(cc).GetSupportedMethods(context.Background(), &shared.Empty{}); err == nil {
		t.Error("the fault did not befall")
	}
}

// A connection may have 100 calls at a time, and pings as often as it likes, as with Kestrel.
func TestConnection(t *testing.T) {
	s := start(t, Options{})
	nc, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	const pings = 20
	frames := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and no settings
	for range pings {
		frames = append(frames, "\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong"...)
	}
	if _, err := nc.Write(frames); err != nil {
		t.Fatal(err)
	}
	var calls uint32
	for answered := 0; answered < pings; {
		var h [9]byte
		if _, err := io.ReadFull(nc, h[:]); err != nil {
			t.Fatalf("after %d pings: %v", answered, err)
		}
		body := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
		if _, err := io.ReadFull(nc, body); err != nil {
			t.Fatal(err)
		}
		switch h[3] {
		case 4: // settings; number 3 is how many calls
			for ; len(body) >= 6; body = body[6:] {
				if binary.BigEndian.Uint16(body) == 3 {
					calls = binary.BigEndian.Uint32(body[2:])
				}
			}
		case 6:
			answered++
		case 7:
			t.Fatalf("the server has enough after %d pings: %q", answered, body)
		}
	}
	if calls != 100 {
		t.Errorf("%d calls at a time", calls)
	}
}
