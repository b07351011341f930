package kafkalog

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config says where a ledger is and how it must be kept. Brokers is all that is
// required; a ledger has one Prefix, Replication, MinISR and NumberForms, the same at
// every node.
type Config struct {
	// Brokers are seeds, host:port; the cluster names the others.
	Brokers []string
	// Prefix names the four topics, <Prefix>.ledger, .control, .inbox and .audit. Default
	// "chirograph".
	Prefix string
	// Replication and MinISR are how many replicas each partition must have, and how
	// many of them must be in sync for an append to be taken (min.insync.replicas).
	// Default 3, and one less than Replication, at least 1.
	Replication, MinISR int
	// TLS, when set, is used with every broker; with a certificate of the client's
	// in it this is mTLS. Its ServerName may be empty.
	TLS *tls.Config
	// SASL, when its Mechanism is set, authenticates every connection.
	SASL SASL
	// NumberForms is the version of the canonical number forms; of an existing ledger
	// it must be the one that it was created with.
	NumberForms int
	// Partitions is how many recipients' partitions Init gives a new ledger; default 16,
	// at most event.MaxPartitions. Of an existing ledger it must be 0 or what it has.
	Partitions int
	// Copy is for the target of a copy. Init leaves the topics empty, and Open accepts
	// topics without a first event: the copy brings it. Until the ledger is opened without
	// Copy it has no Source, and no record is judged by its ledger or partition.
	Copy bool
	// Database is the identity of the database that this node uses beside the ledger, 1 to 64 letters and
	// digits, or "". A Placement tells it to the other members of its group, in its client id.
	Database string
	// Decode makes every event that is read be decoded from its bytes: a test mode.
	Decode bool

	// DeliverWithin bounds the time until an append is answered, and the time of a read that
	// does not wait for new events. Default 10 s, at least 1 s.
	DeliverWithin time.Duration
	// QueueBytes and QueueEvents bound the appends that have no answer yet, in stored bytes
	// and in events; beyond them appends are refused. Default 64 MiB and 65,536.
	QueueBytes, QueueEvents int
	// TailBytes and TailEvents bound the newest events of one partition that are kept in
	// memory for its readers. Default 2 MiB of stored bytes and 8,192; in memory an
	// event takes two to four times its stored bytes.
	TailBytes, TailEvents int

	// dial, where a test sets it, makes the connections.
	dial func(ctx context.Context, network, host string) (net.Conn, error)
}

// SASL is how a client authenticates itself. Use it with TLS: PLAIN sends the
// password itself.
type SASL struct {
	// Mechanism is "PLAIN" (RFC 4616), "SCRAM-SHA-256" (RFC 7677) or "SCRAM-SHA-512";
	// empty is none.
	Mechanism      string
	User, Password string
}

// String is the mechanism alone, so that no log gets the user and the password.
func (s SASL) String() string { return s.Mechanism }

// GoString is String.
func (s SASL) GoString() string { return s.Mechanism }

// opt is the client's option for it; nil for none.
func (s SASL) opt() (kgo.Opt, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return kgo.SASL(plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()), nil
	case "SCRAM-SHA-256":
		return kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()), nil
	case "SCRAM-SHA-512":
		return kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()), nil
	}
	return nil, fmt.Errorf("a SASL mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not %.40q", s.Mechanism)
}

// clientID is how a node calls itself to the brokers. A member of the group of a Placement has its
// database behind databaseMark.
const clientID, databaseMark = "chirograph", "chirograph/database-"

// prefixForm is what Kafka allows in a topic's name, and 249 characters in all.
var prefixForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,200}$`)

// withDefaults checks a configuration and fills in what it leaves out.
func (c Config) withDefaults() (Config, error) {
	c.Prefix = cmp.Or(c.Prefix, "chirograph")
	c.Replication = cmp.Or(c.Replication, 3)
	c.MinISR = cmp.Or(c.MinISR, max(1, c.Replication-1))
	c.QueueBytes = cmp.Or(c.QueueBytes, 64<<20)
	c.QueueEvents = cmp.Or(c.QueueEvents, 1<<16)
	c.TailBytes = cmp.Or(c.TailBytes, 2<<20)
	c.TailEvents = cmp.Or(c.TailEvents, 8192)
	c.DeliverWithin = cmp.Or(c.DeliverWithin, 10*time.Second)
	switch {
	case len(c.Brokers) == 0:
		return c, errors.New("no Kafka broker is configured")
	case !prefixForm.MatchString(c.Prefix):
		return c, fmt.Errorf("a prefix of topics has 1 to 200 letters, digits, '.', '_' and '-', not %.40q", c.Prefix)
	case c.Replication < 1 || c.MinISR < 1 || c.MinISR > c.Replication:
		return c, fmt.Errorf("of %d replicas %d cannot be in sync", c.Replication, c.MinISR)
	case c.DeliverWithin < time.Second:
		return c, fmt.Errorf("appends need a second at least to be delivered, not %s", c.DeliverWithin)
	case c.QueueBytes < 0 || c.QueueEvents < 0 || c.TailBytes < 0 || c.TailEvents < 0:
		return c, errors.New("a bound is not below 0")
	}
	if err := engine.CheckPartitions(c.Partitions); err != nil {
		return c, err
	}
	_, err := c.SASL.opt()
	return c, err
}

// attempt bounds one request, so that DeliverWithin is enough for several.
func (c *Config) attempt() time.Duration { return c.DeliverWithin / 3 }

// client makes a client. It connects at its first request.
func (c *Config) client(more ...kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(clientID),
		// A request dials twice at most. Both dials must fit into an attempt, so that a request
		// that was not sent ends by itself, with an error that says so.
		kgo.DialTimeout(c.attempt() / 4),
		kgo.RequestTimeoutOverhead(c.attempt()),
		kgo.RetryTimeout(c.DeliverWithin),
		kgo.RetryBackoffFn(engine.Backoff),
		kgo.MetadataMinAge(100 * time.Millisecond),
		// Brokers close idle connections after ten minutes.
		kgo.ConnIdleTimeout(9 * time.Minute),
		kgo.DisableClientMetrics(),
	}
	switch {
	case c.dial != nil:
		opts = append(opts, kgo.Dialer(c.dial))
	case c.TLS != nil:
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	sasl, err := c.SASL.opt()
	if err != nil {
		return nil, err
	}
	if sasl != nil {
		opts = append(opts, sasl)
	}
	return kgo.NewClient(append(opts, more...)...)
}
