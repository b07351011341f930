package leases

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
)

// Scratch makes an empty database on a server, for a benchmark, and returns its URL and a
// function that drops it. The URL's user must be allowed to make databases.
func Scratch(ctx context.Context, server string) (database string, drop func() error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", nil, fmt.Errorf("this is no URL of a PostgreSQL server") //nolint:err113 // the cause would quote it
	}
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	name := "scratch_" + hex.EncodeToString(b[:])
	ask := func(ctx context.Context, statement string) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, server)
		if err != nil {
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
		defer func() { _ = c.Close(ctx) }()
		_, err = c.Exec(ctx, statement)
		return err
	}
	if err := ask(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), func() error {
		return ask(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	}, nil
}
