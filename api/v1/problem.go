package v1

import (
	"context"
	"errors"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/sms"
)

// problemOf turns the errors of reading and of numbers into problems; nil for the
// others, which the door knows.
func problemOf(err error) *door.Problem {
	var number *sms.NumberError
	var behind *reading.BehindError
	switch {
	case errors.As(err, &number):
		return door.Refuse(number.Code, "", number.Detail)
	case errors.Is(err, reading.ErrNotFound):
		return door.Refuse("message_not_found", "", "There is no message with this id in your tenant.")
	case errors.Is(err, reading.ErrNoReview):
		return door.Refuse("review_not_found", "", "There is no review with this id.")
	case errors.Is(err, reading.ErrNotRecorded):
		return door.RetryLater("audit_log_behind", "Personal data is shown only if the audit log takes down that it was. Nothing was shown; try again in five seconds.", 5, err)
	case errors.Is(err, notify.ErrNoEndpoint):
		return door.Refuse("webhook_not_found", "", "There is no webhook with this id in your tenant.")
	case errors.Is(err, notify.ErrChanged):
		return door.Refuse("webhook_changed", "", "The webhook was changed at the same time. Try again.")
	case errors.Is(err, history.ErrNoEvent):
		return door.Refuse("event_not_found", "", "No event with this id was found in your tenant. If you know its position, such as 07-1234, ask with that.")
	case errors.Is(err, feed.ErrGone):
		return door.Refuse("cursor_gone", "", "This cursor is from before what the feed tells now. Call without after, and skip the records whose id you have.")
	case errors.Is(err, feed.ErrCursor):
		return door.Refuse("invalid_cursor", "", "The parameter after is no cursor of this ledger and tenant. Send the next of the page before as it was, or leave it out.")
	case errors.Is(err, feed.ErrBehind):
		return door.RetryLater("behind", "The views are being made anew and have not reached this record. Try again in a second.", 1, err)
	case errors.As(err, &behind):
		return door.RetryLater("behind", "The views have not read this position yet. Try again in a second.", 1, behind.Err)
	}
	return nil
}

// written marks the errors of a write whose context ended before the ledger
// answered: nobody can know, so 504 and not 500.
func written(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ledger.Unknown(err)
	}
	return err
}

// left is the 409 of a cancel.
func left(c *intake.Cancelled) *door.Problem {
	detail := "Its status is " + string(c.Status) + ": it can no longer be cancelled. No further attempt to send it will be made."
	if c.Asked {
		detail += " The carrier is asked to cancel what it has not delivered yet; a receipt tells what became of it."
	}
	return &door.Problem{Code: "message_left", State: string(c.Status), Position: c.Position.String(), Detail: detail}
}
