package door

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// record writes a request's log line and counts it in the histogram.
func (d *Door) record(c echo.Context, r *request, tenant string) {
	took, status := time.Since(r.start), c.Response().Status
	// Whatever else a client sends must not become a label.
	method, route := "other", "other"
	if r.op != nil {
		method, route = r.op.Method, r.op.Path
	}
	if d.seconds != nil {
		d.seconds.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
	}
	level := slog.LevelInfo
	if r.op != nil && r.op.Scope == "" {
		level = slog.LevelDebug
	}
	if r.problem != nil && status >= 500 {
		level = slog.LevelWarn
	}
	if r.problem != nil && status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	if !d.c.Logger.Enabled(context.Background(), level) {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Duration("took", took), slog.String("reference", r.reference), slog.String("tenant", tenant),
		{}, {},
	}
	n := 6
	if r.problem != nil {
		attrs[n] = slog.String("problem", r.problem.Code)
		n++
		if r.problem.Cause != nil {
			attrs[n] = slog.String("cause", r.problem.Cause.Error())
			n++
		}
	}
	d.c.Logger.LogAttrs(context.Background(), level, "request", attrs[:n]...)
}

// newReference is 12 characters that are unlike any other request's.
func newReference() string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var b [12]byte
	n := rand.Uint64()
	for i := range b {
		b[i] = digits[n&31]
		n >>= 5
	}
	return string(b[:])
}
