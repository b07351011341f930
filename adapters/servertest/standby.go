package servertest

import (
	"net/url"
	"strings"
	"testing"
)

// Standby makes the database of a URL take no writes, like one on a standby: its sessions end,
// and new sessions are read-only (SQLSTATE 25006). promote makes it take writes in sessions that
// begin after that. Sessions from before stay read-only, as connections to a former primary do.
func Standby(t testing.TB, database string) (promote func()) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal("the database's address is no URL")
	}
	name := strings.TrimPrefix(u.Path, "/")
	ask(t, database, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	ask(t, database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	return func() {
		t.Helper()
		u.Path = "/postgres" // a session in that database itself may not do it
		ask(t, u.String(), "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	}
}

// Nameless fails a test if text, which anybody may read, has the host, the port, the user or the
// password of a URL in it.
func Nameless(t testing.TB, text, server string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("the server's address is no URL")
	}
	password, _ := u.User.Password()
	for what, secret := range map[string]string{"host": u.Hostname(), "port": u.Port(), "user": u.User.Username(), "password": password} {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("a text names the %s of the server: %q", what, text)
		}
	}
}
