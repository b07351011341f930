package eventstorelog

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Config says where a ledger is. Connection is all that is required; a ledger has one
// Name and NumberForms, the same at every node.
type Config struct {
	// Connection is EventStoreDB's own connection string, esdb://… or esdb+discover://…
	// It holds the password and is in no error. Of its parameters these are used: tls,
	// tlsVerifyCert, tlsCaFile, userCertFile, userKeyFile, keepAliveInterval,
	// keepAliveTimeout and gossipTimeout; discoveryInterval and maxDiscoverAttempts are
	// taken and not needed, since the leader is looked for whenever somebody asks. The leader
	// is asked, so nodePreference is no other; and defaultDeadline must not be there:
	// DeliverWithin is. What is not known is refused.
	Connection string
	// Name names the streams: <Name>-00 and on for the recipients' partitions,
	// <Name>-control, <Name>-inbox, and <Name>.lease for who serves them. Default
	// "chirograph".
	Name string
	// NumberForms is the version of the canonical number forms; of an existing ledger
	// it must be the one that it was created with.
	NumberForms int
	// Partitions is how many recipients' partitions Init gives a new ledger; default 16,
	// at most event.MaxPartitions. Of an existing ledger it must be 0 or what it has.
	Partitions int
	// Copy is for the target of a copy, of which Partitions must say how many partitions
	// it has. Init leaves the streams empty, and Open takes them without a first event:
	// the copy brings it. Appends are made at exact revisions: nobody else may append.
	// Until it is opened again without Copy the ledger has no Source, and no record is
	// judged by its ledger or partition.
	Copy bool
	// Decode makes every event that is read be decoded from its bytes: a test mode.
	Decode bool

	// DeliverWithin bounds how long an append may be without an answer, and a read of
	// what is there. Default 10 s, at least 1 s.
	DeliverWithin time.Duration
	// QueueBytes and QueueEvents bound what was appended and is not answered yet, in
	// stored bytes and events; beyond them appends are refused. Default 64 MiB and 65,536.
	QueueBytes, QueueEvents int
}

const defaultPartitions = 16

// nameForm leaves out what a stream's name could not have, and "$", with which
// EventStoreDB's own begin.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}$`)

// withDefaults checks a configuration and fills in what it leaves out.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = "chirograph"
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	if c.QueueEvents == 0 {
		c.QueueEvents = 1 << 16
	}
	if c.DeliverWithin == 0 {
		c.DeliverWithin = 10 * time.Second
	}
	switch {
	case c.Connection == "":
		return c, errors.New("no EventStoreDB is configured")
	case !nameForm.MatchString(c.Name):
		return c, fmt.Errorf("a ledger's name has 1 to 200 letters, digits, '.', '_' and '-', and begins with a letter or digit, not %.40q", c.Name)
	case c.Partitions < 0 || c.Partitions > event.MaxPartitions:
		return c, fmt.Errorf("a ledger has 1 to %d partitions, not %d", event.MaxPartitions, c.Partitions)
	case c.Copy && c.Partitions == 0:
		return c, errors.New("the target of a copy has as many partitions as the original: say how many")
	case c.DeliverWithin < time.Second:
		return c, fmt.Errorf("appends need a second at least to be delivered, not %s", c.DeliverWithin)
	case c.QueueBytes < 0 || c.QueueEvents < 0:
		return c, errors.New("a bound is not below 0")
	}
	return c, CheckConnection(c.Connection)
}

// CheckConnection says what is wrong with a connection string, without quoting it.
func CheckConnection(s string) error {
	_, err := parse(s)
	return err
}

// attempt is how long one question may take, so that there are several in DeliverWithin.
func (c *Config) attempt() time.Duration { return c.DeliverWithin / 3 }

// stream is where a partition is.
func (c *Config) stream(p event.Partition) string { return c.Name + "-" + p.String() }
