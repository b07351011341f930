package assemble

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/witness"
)

// witnessing is the reading.Witness of a node: what was shown of a review is recorded in its stream, by
// intake, and everything in the audit log.
type witnessing struct {
	*witness.Witness
	intake *intake.Intake
	// end appends what is left. Call it when no more requests are answered.
	end func()
}

// ReviewRead is part of reading.Witness.
func (w *witnessing) ReviewRead(ctx context.Context, c ledger.Caller, tenant string, subject event.Pseudonym, review event.ID) error {
	return w.intake.ReviewRead(ctx, c, tenant, subject, review)
}

// writer writes what this node records beside its requests.
func (r *Running) writer() *ledger.Writer {
	return ledger.NewWriter(ledger.Author{Source: r.Data.Log.Source(), Node: r.Name}, timed{r.Data.Log}, r.Data.Vault, r.Data.Views, time.Now, 0)
}

// witness begins to record reads of personal data and uses of keys.
func (r *Running) witness() *witnessing {
	writer := r.writer()
	w := &witnessing{Witness: witness.New(writer, time.Now, r.Log), intake: r.Node.Intake()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-ended; err != nil {
			r.Log.Error("stopped before all reads of personal data were recorded", "error", err)
		}
	}
	return w
}
