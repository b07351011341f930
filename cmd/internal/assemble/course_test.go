package assemble

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/rebuild"
)

// TestFoldsOfAnotherCourse: folds of the same ledger that went another way since (a snapshot was put back without them) are made
// anew, whether or not the ledger has come further than they have.
func TestFoldsOfAnotherCourse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	add := func(n int, reason string) {
		t.Helper()
		d, err := OpenFolder(Folder{Dir: dir, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.New {
			if err := d.Begin("n1", false); err != nil {
				t.Fatal(err)
			}
		}
		author := ledger.Author{Source: d.Log.Source(), Node: "n1"}
		stream := ledger.Stream{Tenant: "bank", Subject: event.Pseudonym{1, 2}, Partition: event.Partition(event.Pseudonym{1, 2}.Partition(d.Log.Partitions()))}
		for range n {
			done := make(chan error, 1)
			now := time.Now()
			d.Log.Append(stream.Partition, []*event.Event{author.Event(stream, event.NewID(now), now, &event.OptedOut{
				Reach: event.Reach{Scope: event.ScopeProgram, Name: reason}, Source: "phone", By: "web"})}, func(a ledger.Appended) { done <- a.Err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if _, err := rebuild.New(d.Log, d.Views).Continue(t.Context(), heads(t, d.Log)); err != nil {
			t.Fatal(err)
		}
	}
	copyOf := func(from, to string) {
		t.Helper()
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	add(3, "both")
	before := filepath.Join(t.TempDir(), "before")
	copyOf(dir, before)
	add(4, "one")
	other := filepath.Join(t.TempDir(), "folds")
	copyOf(filepath.Join(dir, viewsFile+sqldb.FoldsSuffix), other)
	copyOf(before, dir)
	add(6, "another")
	copyOf(other, filepath.Join(dir, viewsFile+sqldb.FoldsSuffix))

	add(0, "")
	d, err := OpenFolder(Folder{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	subject := event.Pseudonym{1, 2}
	p := event.Partition(subject.Partition(d.Log.Partitions()))
	folds, asOf, err := d.Views.Streams(t.Context(), p, []event.Pseudonym{subject})
	if err != nil || asOf != 9 || folds[subject] == nil {
		t.Fatal(folds, asOf, err)
	}
	var names []string
	for _, o := range folds[subject].OptOuts {
		names = append(names, o.Reach.Name)
	}
	if got := strings.Join(names, " "); strings.Contains(got, "one ") || !strings.Contains(got, "another") {
		t.Errorf("what stands is %s", got)
	}
}

func heads(t *testing.T, log Log) map[event.Partition]int64 {
	t.Helper()
	all := map[event.Partition]int64{}
	for p := range event.Partition(log.Partitions()) {
		_, head, err := log.Read(t.Context(), p, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all[p] = head
	}
	return all
}
