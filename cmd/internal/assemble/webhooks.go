package assemble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/chirograph/chirograph/adapters/endpoints"
	"github.com/chirograph/chirograph/domain/ledger"
)

// webhooksFit refuses a file of webhooks that belongs to another ledger than the one with that id; "": a new one is
// to be made. A file that cannot be read says nothing, and stops no message.
func webhooksFit(path, of string) error {
	whose, err := endpoints.LookAt(path)
	if err != nil || whose == "" || whose == of {
		return nil //nolint:nilerr // see above
	}
	if of == "" {
		return fmt.Errorf("there is no ledger here, but webhooks.db belongs to one, %s. Put that ledger back where it was, or restore it from a backup with `chirograph restore`. To begin a new ledger, choose another folder", whose)
	}
	return otherWebhooks(fmt.Errorf("webhooks.db belongs to another ledger: to %s, and this is the ledger %s", whose, of))
}

func otherWebhooks(err error) error {
	return fmt.Errorf("%w. Put the right file back; or move this one to another folder (delete nothing), and add the endpoints of this ledger again", err)
}

// openWebhooks opens the webhooks of a data folder, or makes them. Where they are damaged or cannot be used, that is logged, and
// what it returns refuses every call: nothing is decided from them, so messages go on.
func openWebhooks(path, of string) (*endpoints.Store, error) {
	s, err := endpoints.OpenFile(path, of)
	if errors.Is(err, endpoints.ErrOtherLedger) {
		return nil, otherWebhooks(err)
	}
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("%w. The file was left as it is. Stop the node, move webhooks.db and webhooks.db-wal to another folder, and put the newest copy of a backup in their place; without one, start the node and add the endpoints again", err)
	slog.Error("webhooks cannot be used, and nothing is told to endpoints; messages go on", "error", err)
	return endpoints.Unusable(err), nil
}

// openSharedWebhooks opens the webhooks of a cluster. Where PostgreSQL does not answer, that is an error, as for the views;
// anything else is as on one machine.
func openSharedWebhooks(ctx context.Context, url, of string) (*endpoints.Store, error) {
	s, err := endpoints.OpenPostgres(ctx, url, of)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, endpoints.ErrOtherLedger):
		return nil, fmt.Errorf("%w. Two ledgers cannot share a database. Check the prefix or name, and the database, in the configuration", err)
	case errors.Is(err, ledger.ErrRefused), ctx.Err() != nil:
		return nil, err
	}
	err = fmt.Errorf("%w. Put the schema chirograph_webhooks right, or restore it from a backup, and restart the node", err)
	slog.Error("webhooks cannot be used, and nothing is told to endpoints; messages go on", "error", err)
	return endpoints.Unusable(err), nil
}
