package eventstorelog

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
)

// Config says where a ledger is. Connection is all that is required; a ledger has one
// Name and NumberForms, the same at every node.
type Config struct {
	// Connection is EventStoreDB's own connection string, esdb://… or esdb+discover://…
	// It holds the password and is in no error. Of its parameters these are used: tls,
	// tlsVerifyCert, tlsCaFile, userCertFile, userKeyFile, keepAliveInterval,
	// keepAliveTimeout and gossipTimeout. discoveryInterval and maxDiscoverAttempts may be
	// there and have no effect: each call looks for the leader. nodePreference can only be
	// leader. defaultDeadline is refused, because DeliverWithin is the deadline. Any other
	// parameter is refused.
	Connection string
	// Name names the streams: <Name>-00, <Name>-01, … for the recipients' partitions,
	// <Name>-control, <Name>-inbox, and <Name>.lease, which says which node serves which
	// partition. Default "chirograph".
	Name string
	// NumberForms is the version of the canonical number forms; of an existing ledger
	// it must be the one that it was created with.
	NumberForms int
	// Partitions is how many recipients' partitions Init gives a new ledger; default 16,
	// at most event.MaxPartitions. Of an existing ledger it must be 0 or what it has.
	Partitions int
	// Copy is for the target of a copy; Partitions is required then. Init leaves the streams
	// empty, and Open accepts streams without a first event: the copy brings it. Appends are
	// made at exact revisions: no other process may append. Until the ledger is opened without
	// Copy it has no Source, and no record is judged by its ledger or partition.
	Copy bool
	// Database is the identity of the database that this node uses beside the ledger, 1 to 64 letters and
	// digits, or "". A Placement tells it to the other members, behind its node's name.
	Database string
	// Decode makes every event that is read be decoded from its bytes: a test mode.
	Decode bool

	// DeliverWithin bounds the time until an append is answered, and the time of a read that
	// does not wait for new events. Default 10 s, at least 1 s.
	DeliverWithin time.Duration
	// QueueBytes and QueueEvents bound the appends that have no answer yet, in stored bytes
	// and in events; beyond them appends are refused. Default 64 MiB and 65,536.
	QueueBytes, QueueEvents int
}

// nameForm excludes characters that a stream's name cannot have, and "$", with which
// EventStoreDB's own streams begin.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}$`)

// withDefaults checks a configuration and fills in what it leaves out.
func (c Config) withDefaults() (Config, error) {
	c.Name = cmp.Or(c.Name, "chirograph")
	c.QueueBytes = cmp.Or(c.QueueBytes, 64<<20)
	c.QueueEvents = cmp.Or(c.QueueEvents, 1<<16)
	c.DeliverWithin = cmp.Or(c.DeliverWithin, 10*time.Second)
	switch {
	case c.Connection == "":
		return c, errors.New("no EventStoreDB is configured")
	case !nameForm.MatchString(c.Name):
		return c, fmt.Errorf("a ledger's name has 1 to 200 letters, digits, '.', '_' and '-', and begins with a letter or digit, not %.40q", c.Name)
	case c.Copy && c.Partitions == 0:
		return c, errors.New("the target of a copy has as many partitions as the original: say how many")
	case c.DeliverWithin < time.Second:
		return c, fmt.Errorf("appends need a second at least to be delivered, not %s", c.DeliverWithin)
	case c.QueueBytes < 0 || c.QueueEvents < 0:
		return c, errors.New("a bound is not below 0")
	}
	if err := engine.CheckPartitions(c.Partitions); err != nil {
		return c, err
	}
	return c, CheckConnection(c.Connection)
}

// CheckConnection says what is wrong with a connection string, without quoting it.
func CheckConnection(s string) error {
	_, err := parse(s)
	return err
}

// attempt bounds one question, so that DeliverWithin is enough for several.
func (c *Config) attempt() time.Duration { return c.DeliverWithin / 3 }

// stream names a partition's stream.
func (c *Config) stream(p event.Partition) string { return c.Name + "-" + p.String() }
