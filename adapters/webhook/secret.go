package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The kinds of secrets, as notify.Secret.Kind has them.
const (
	HMAC    = "hmac"    // whsec_…: HMAC-SHA256; the receiver has the same secret
	Ed25519 = "ed25519" // whsk_…: the receiver has the public key, whpk_…
)

// The prefixes of secrets and keys (Standard Webhooks 1.0.0, "Signature scheme").
const (
	hmacPrefix    = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// secretOctets is the length of a new HMAC secret, 192 bits. The shortest and the longest are those of the specification.
const (
	secretOctets    = 24
	shortestOctets  = 24
	longestOctets   = 64
	unreadableWords = "it is no whsec_… or whsk_… secret in Base64"
)

var errSecret = errors.New(unreadableWords)

// NewSecret makes a secret of a kind, as text: whsec_ and 24 random octets, or whsk_ and an Ed25519 private key (64 octets: seed
// and public key). The error is one of an unknown kind.
func NewSecret(kind string) (string, error) {
	switch kind {
	case HMAC:
		var b [secretOctets]byte
		rand.Read(b[:])
		return hmacPrefix + base64.StdEncoding.EncodeToString(b[:]), nil
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return privatePrefix + base64.StdEncoding.EncodeToString(key), err
	}
	return "", fmt.Errorf("a secret is %s or %s", HMAC, Ed25519)
}

// PublicKey returns what a receiver verifies with: the whpk_… key of a whsk_… secret. A whsec_… secret has no public
// key: the error says so. No error quotes the secret.
func PublicKey(secret string) (string, error) {
	if strings.HasPrefix(secret, hmacPrefix) {
		return "", errors.New("an HMAC secret has no public key: the receiver has the secret itself")
	}
	s, err := parseSecret(secret)
	if err != nil {
		return "", err
	}
	public, ok := s.private.Public().(ed25519.PublicKey)
	if !ok {
		return "", errSecret
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(public), nil
}

// signer signs with one secret.
type signer struct {
	hmac    *standardwebhooks.Webhook
	private ed25519.PrivateKey
}

// parseSecret reads a secret that NewSecret made, or one that a tenant brought.
func parseSecret(secret string) (*signer, error) {
	if text, ok := strings.CutPrefix(secret, hmacPrefix); ok {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b) < shortestOctets || len(b) > longestOctets {
			return nil, errSecret
		}
		w, err := standardwebhooks.NewWebhookRaw(b)
		if err != nil {
			return nil, errSecret
		}
		return &signer{hmac: w}, nil
	}
	text, ok := strings.CutPrefix(secret, privatePrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != ed25519.PrivateKeySize {
		return nil, errSecret
	}
	key := ed25519.PrivateKey(b)
	if !key.Equal(ed25519.NewKeyFromSeed(key.Seed())) {
		return nil, errSecret // the public half is another's: a signature by it would give the private one away
	}
	return &signer{private: key}, nil
}

// sign returns one signature of a request, as webhook-signature has it.
func (s *signer) sign(id string, at time.Time, body []byte) (string, error) {
	if s.hmac != nil {
		return s.hmac.Sign(id, at, body)
	}
	content := make([]byte, 0, len(id)+len(body)+22)
	content = append(content, id...)
	content = append(content, '.')
	content = strconv.AppendInt(content, at.Unix(), 10)
	content = append(content, '.')
	content = append(content, body...)
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, content)), nil
}
