package v1

import (
	"context"
	"errors"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/projections"
)

var errMessageNotFound = door.Refuse("message_not_found", "", "There is no message with this id in your tenant.")

// problemOf turns the errors of this API's own operations into problems; nil for
// the others, which the door knows.
func problemOf(err error) *door.Problem {
	var number *sms.NumberError
	switch {
	case errors.As(err, &number):
		return door.Refuse(number.Code, "", number.Detail)
	case errors.Is(err, projections.ErrNotFound):
		return errMessageNotFound
	}
	return nil
}

// written marks the errors of a write whose context ended before the ledger
// answered: nobody can know, so 504 and not 500.
func written(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errors.Join(ledger.ErrUnknown, err)
	}
	return err
}

// left is the 409 of a cancel.
func left(c *ledger.Cancelled) *door.Problem {
	return &door.Problem{Code: "message_left", State: string(c.Status), Position: c.Position.String(),
		Detail: "It is " + string(c.Status) + " and can no longer be cancelled; no later attempt will be made."}
}
