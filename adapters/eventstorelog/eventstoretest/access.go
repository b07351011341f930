package eventstoretest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// who is the user of a call.
type who struct {
	name  string // "": the call names no user
	admin bool
}

// authenticate returns the user of a call. Without users in the Options every call is the
// administrator's. A call without a user has the empty name; one with a wrong password is refused.
func (s *Server) authenticate(ctx context.Context) (who, error) {
	o := &s.cluster.opts
	if o.User == "" {
		return who{name: "admin", admin: true}, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	given := md.Get("authorization")
	if len(given) != 1 {
		return who{}, nil
	}
	encoded, ok := strings.CutPrefix(given[0], "Basic ")
	if !ok {
		return who{}, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return who{}, errHandler
	}
	name, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return who{}, nil
	}
	right, known := o.Users[name]
	if name == o.User {
		right, known = o.Password, true
	}
	if !known || subtle.ConstantTimeCompare([]byte(right), []byte(password)) == 0 {
		return who{}, errUnauthenticated
	}
	return who{name: name, admin: name == o.User}, nil
}

// metaAccess has, for an access to a stream of metadata, its name in the $acl of the stream.
var metaAccess = map[string]string{"$r": "$mr", "$w": "$mw"}

// may returns an error where a user may not read ("$r"), write ("$w") or delete ("$d") a stream.
func (s *Server) may(u who, access, stream string) error {
	if s.cluster.opts.User == "" {
		if stream == "$all" && access != "$r" {
			return errDenied
		}
		return nil
	}
	if u.name == "" || stream == "" || stream == "$all" && access != "$r" {
		return errDenied
	}
	if original, ok := strings.CutPrefix(stream, "$$"); ok {
		if access, ok = metaAccess[access]; !ok {
			return errDenied
		}
		stream = original
	}
	if u.admin {
		return nil
	}
	v, unlock := s.view()
	defer unlock()
	roles, ok := v.limitsOf(stream).acl[access]
	switch {
	case !ok && strings.HasPrefix(stream, "$"):
		return errDenied
	case ok && !slices.Contains(roles, "$all") && !slices.Contains(roles, u.name):
		return errDenied
	}
	return nil
}

// requiresLeader reports whether a caller wants an answer of the leader only.
func requiresLeader(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	v := md.Get("requires-leader")
	return len(v) > 0 && strings.EqualFold(strings.TrimSpace(v[0]), "true")
}

// leaderInfo is the error that names the leader to a caller.
func (s *Server) leaderInfo() error {
	c := s.cluster
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.leader < 0 {
		return errNotReady
	}
	host, port := c.nodes[c.leader].hostPort()
	return &refusal{code: codes.NotFound, text: "Leader info available", trailer: []string{exception, "not-leader",
		"leader-endpoint-host", host, "leader-endpoint-port", strconv.Itoa(int(port))}}
}

// mayWrite returns the term in which the node takes a write, to make it or to pass it on; an
// error where it does not.
func (s *Server) mayWrite(ctx context.Context) (term int, err error) {
	c := s.cluster
	c.mu.RLock()
	leader, term := c.leader, c.term
	c.mu.RUnlock()
	switch {
	case leader < 0:
		return 0, errNotReady
	case leader != s.number && requiresLeader(ctx):
		return 0, s.leaderInfo()
	}
	return term, nil
}

// Certificate makes a certificate for 127.0.0.1 and localhost that is valid for a day: the
// server's configuration, and the authority's certificate in PEM for the file of tlsCaFile.
func Certificate() (server *tls.Config, ca []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "eventstoretest"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
