package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills the disk of a node. It says so in its log and in /readyz, answers no submit with 202, and goes on
// by itself when there is room.
func TestFullDisk(t *testing.T) {
	n := &node{t: t, dir: t.TempDir(), addr: free(t), args: []string{"--dev-quiet"}, http: &http.Client{}}
	if err := syscall.Mount("tmpfs", n.dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(n.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.start()
	submit := func() int {
		return n.call("POST", "/v1/messages", `{"to":"+14155550123","body":"Your statement is ready."}`).status
	}
	within(t, "the node is ready", func() bool { return n.call("GET", "/readyz", "").status == http.StatusOK })
	if ready := string(n.call("GET", "/readyz", "").body); !strings.Contains(ready, `"disk"`) || !strings.Contains(ready, "MiB free") {
		t.Errorf("/readyz does not say how much is free: %s", ready)
	}
	filler := filepath.Join(n.dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	// The write-ahead file may have some room in it that it had before, and a small commit may fit where a larger
	// one does not.
	within(t, "submits are not recorded, and /readyz says it", func() bool {
		if submit() < 500 {
			return false
		}
		a := n.call("GET", "/readyz", "")
		return a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), "the disk is full") && strings.Contains(string(a.body), "are free on the data folder's disk") &&
			!strings.Contains(string(a.body), n.dir)
	})
	within(t, "the log says it", func() bool {
		log := n.p.text()
		return strings.Contains(log, "a commit of the ledger failed") && strings.Contains(log, `cause="disk full"`)
	})
	if metrics := string(n.call("GET", "/metrics", "").body); !strings.Contains(metrics, "\nchirograph_disk_free_bytes ") || !strings.Contains(metrics, `chirograph_dependency_up{name="disk"} 0`) {
		t.Error("the metrics do not say it")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	within(t, "the node is ready again", func() bool { return n.call("GET", "/readyz", "").status == http.StatusOK })
	within(t, "a submit is recorded", func() bool { return submit() == http.StatusAccepted })
	within(t, "the log says that it is over", func() bool { return strings.Contains(n.p.text(), "records again") })
	// And nothing is left of it.
	n.p.kill()
	n.start()
	within(t, "the node is ready after a restart", func() bool { return n.call("GET", "/readyz", "").status == http.StatusOK })
}
