package assemble

import (
	"context"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog"
	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// engines has one line an engine whose ledger nodes can share: its name in a configuration,
// and how it is made from one. The embedded engine has a folder of its own (openFolder).
var engines = map[string]func(*config.Config) Engine{
	config.EngineKafka:        func(c *config.Config) Engine { return kafkaEngine{&c.Kafka} },
	config.EngineEventStoreDB: func(c *config.Config) Engine { return eventStoreEngine{&c.EventStoreDB} },
}

// Engine makes and opens a ledger that nodes share.
type Engine interface {
	// Init makes a new ledger, or checks the one that is there. copyOf is how many
	// partitions the original has, for the target of a copy; else 0.
	Init(ctx context.Context, copyOf int) (made bool, err error)
	// Open opens the ledger. copyOf as above.
	Open(ctx context.Context, copyOf int) (SharedLog, error)
	// Member takes part in sharing the partitions, under a node's name. database is the identity of the database
	// that the node uses; "" if it uses none.
	Member(node, database string) (Member, error)
}

// Dropper is an engine whose ledger can be deleted, so that another takes its name.
type Dropper interface {
	Drop(ctx context.Context) error
}

// SharedEngine is the engine of a configuration whose ledger nodes share; the error names
// one that this binary does not have.
func SharedEngine(c *config.Config) (Engine, error) {
	engine, ok := engines[c.Engine]
	if !ok {
		return nil, fmt.Errorf("there is no engine %q that nodes can share", c.Engine)
	}
	return engine(c), nil
}

// Log is a ledger's log with what commands need besides the port.
type Log interface {
	ledger.Log
	// Source is "/" and the ledger's short id.
	Source() string
	Close() error
}

// SharedLog is the log of a ledger that nodes share.
type SharedLog interface {
	Log
	Health() (ok bool, since time.Time, detail string)
}

// Member is a placement that knows how many nodes take part, and with which databases.
type Member interface {
	ledger.Placement
	Members(ctx context.Context) (int, error)
	// Databases are the identities of the databases that they use, each once.
	Databases(ctx context.Context) ([]string, error)
}

type kafkaEngine struct{ c *config.Kafka }

func (k kafkaEngine) Init(ctx context.Context, copyOf int) (bool, error) {
	return kafkalog.Init(ctx, k.c.Adapter(copyOf))
}

func (k kafkaEngine) Open(ctx context.Context, copyOf int) (SharedLog, error) {
	log, err := kafkalog.Open(ctx, k.c.Adapter(copyOf))
	if err != nil {
		return nil, err
	}
	return log, nil
}

func (k kafkaEngine) Member(_, database string) (Member, error) {
	cfg := k.c.Adapter(0)
	cfg.Database = database
	return kafkalog.NewPlacement(cfg, k.c.Prefix, time.Duration(k.c.Session))
}

func (k kafkaEngine) Drop(ctx context.Context) error { return kafkalog.Drop(ctx, k.c.Adapter(0)) }

type eventStoreEngine struct{ c *config.EventStoreDB }

func (e eventStoreEngine) Init(ctx context.Context, copyOf int) (bool, error) {
	return eventstorelog.Init(ctx, e.c.Adapter(copyOf))
}

func (e eventStoreEngine) Open(ctx context.Context, copyOf int) (SharedLog, error) {
	log, err := eventstorelog.Open(ctx, e.c.Adapter(copyOf))
	if err != nil {
		return nil, err
	}
	return log, nil
}

func (e eventStoreEngine) Member(node, database string) (Member, error) {
	cfg := e.c.Adapter(0)
	cfg.Database = database
	return eventstorelog.NewPlacement(cfg, node, time.Duration(e.c.Session))
}
