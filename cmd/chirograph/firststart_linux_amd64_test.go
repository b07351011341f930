package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// firstStartAll, where it is set, makes TestFirstStartKilled start from every moment, and not from a sample.
const firstStartAll = "CHIROGRAPH_FIRST_START_ALL"

// firstStartSample is about how many moments a sample has, besides those at which a file is new.
const firstStartSample = 12

// TestFirstStartKilled looks at the data folder of a first start before each system call that changes it:
// that is what a kill at that call leaves, because what a process wrote stays when it ends. From every such
// folder a node starts, and takes a message. There are about 600 such calls, which leave about 500 folders
// that differ; a sample of them is tried, or all (CHIROGRAPH_FIRST_START_ALL=1, 10 minutes).
func TestFirstStartKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("some dozens of first starts take half a minute")
	}
	folders := traceFirstStart(t)
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CHIROGRAPH_FIRST_START_SEED"), 10, 64); err == nil {
		seed = s
	}
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d folders; CHIROGRAPH_FIRST_START_SEED=%d", len(folders), seed)
	for _, f := range folders {
		if os.Getenv(firstStartAll) == "" && !f.fresh && random.IntN(len(folders)) >= firstStartSample {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			n := &node{t: t, dir: f.dir, addr: free(t), args: []string{"--dev-quiet"}, http: &http.Client{Timeout: 40 * time.Second}}
			n.start()
			within(t, "the node is ready", func() bool { return n.call("GET", "/readyz", "").status == http.StatusOK })
			if a := n.call("POST", "/v1/messages", `{"to":"+14155550123","body":"Your statement is ready."}`); a.status != http.StatusAccepted {
				t.Errorf("a submit is answered %d %s %v", a.status, a.body, a.err)
			}
			n.p.kill()
			if !t.Failed() {
				os.RemoveAll(f.dir)
			}
		})
	}
}

// killedFolder is a folder with a data folder in it, as a kill leaves it.
type killedFolder struct {
	name, dir string
	fresh     bool // the names in it are others than in the one before
}

// tracer holds a first start before each call that changes a file, one call at a time, so that what it copies
// is what a kill at that moment leaves.
type tracer struct {
	t       *testing.T
	pid     int
	data    string
	to      string
	calls   int
	seen    map[[32]byte]bool
	names   string
	folders []killedFolder

	busy    int   // the thread that is in such a call
	waiting []int // threads that wait for it
}

func traceFirstStart(t *testing.T) []killedFolder {
	runtime.LockOSThread() // a process has one tracing thread
	defer runtime.UnlockOSThread()
	tr := &tracer{t: t, data: filepath.Join(t.TempDir(), "data"), to: t.TempDir(), seen: map[[32]byte]bool{}}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "serve", "--dev", "--dev-quiet", "--data", tr.data, "--listen", free(t))
	cmd.Env = append(os.Environ(), asProgram+"=1", "GODEBUG=asyncpreemptoff=1")
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
			t.Skip("this machine traces no system calls")
		}
		t.Fatal(err)
	}
	w.Close()
	tr.pid = cmd.Process.Pid
	stuck := time.AfterFunc(2*time.Minute, func() { syscall.Kill(tr.pid, syscall.SIGKILL) })
	defer stuck.Stop()
	output := make(chan string, 1)
	go func() {
		var out bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			out.Write(buf[:n])
			if strings.Contains(out.String(), "Ctrl-C stops.") {
				syscall.Kill(tr.pid, syscall.SIGKILL)
			}
			if err != nil {
				r.Close()
				output <- out.String()
				return
			}
		}
	}()
	tr.run()
	if out := <-output; !strings.Contains(out, "Ctrl-C stops.") {
		t.Fatalf("the first start itself failed, after %d calls: %s", tr.calls, out)
	}
	t.Logf("%d calls change the folder", tr.calls)
	return tr.folders
}

// The options and requests of ptrace(2) that package syscall does not have.
const (
	ptraceExitKill    = 0x100000
	ptraceSyscallInfo = 0x420e
	syscallEntry      = 1
)

// syscallInfo is struct ptrace_syscall_info of a stop at an entry.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
	_    [8]uint64
}

func (tr *tracer) run() {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(tr.pid, &ws, syscall.WALL, nil); err != nil || !ws.Stopped() {
		tr.t.Fatalf("the process did not stop at its beginning: %v, %v", ws, err)
	}
	if err := syscall.PtraceSetOptions(tr.pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|ptraceExitKill); err != nil {
		syscall.Kill(tr.pid, syscall.SIGKILL)
		tr.t.Skipf("this machine traces no system calls: %v", err)
	}
	tr.goOn(tr.pid, 0)
	for {
		tid, err := syscall.Wait4(-tr.pid, &ws, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		switch {
		case !ws.Stopped():
			if tid == tr.pid {
				return
			}
			tr.left(tid)
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			tr.call(tid)
		case ws.StopSignal() == syscall.SIGTRAP || ws.StopSignal() == syscall.SIGSTOP: // a new thread
			tr.goOn(tid, 0)
		default:
			tr.goOn(tid, int(ws.StopSignal()))
		}
	}
}

// goOn lets a thread run until its next stop. An error means that it was killed.
func (tr *tracer) goOn(tid, signal int) { _ = syscall.PtraceSyscall(tid, signal) }

// call handles a stop at the entry or exit of a system call.
func (tr *tracer) call(tid int) {
	var info syscallInfo
	_, _, e := syscall.Syscall6(syscall.SYS_PTRACE, ptraceSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case e == syscall.ESRCH: // killed
	case e != 0:
		tr.t.Fatalf("ptrace: %v", e)
	case info.op != syscallEntry:
		tr.goOn(tid, 0)
		tr.left(tid)
	case !tr.changes(&info):
		tr.goOn(tid, 0)
	case tr.busy != 0:
		tr.waiting = append(tr.waiting, tid)
	default:
		tr.enter(tid)
	}
}

// enter copies the folder and lets a thread make its call.
func (tr *tracer) enter(tid int) {
	tr.busy = tid
	tr.calls++
	tr.copyFolder()
	tr.goOn(tid, 0)
}

// left lets the next thread make its call, if this one was in one.
func (tr *tracer) left(tid int) {
	if tr.busy != tid {
		return
	}
	tr.busy = 0
	if len(tr.waiting) > 0 {
		next := tr.waiting[0]
		tr.waiting = tr.waiting[1:]
		tr.enter(next)
	}
}

// changes reports whether a call can change the data folder.
func (tr *tracer) changes(c *syscallInfo) bool {
	switch c.nr {
	case syscall.SYS_WRITE, syscall.SYS_PWRITE64, syscall.SYS_WRITEV, syscall.SYS_PWRITEV, syscall.SYS_FTRUNCATE, syscall.SYS_FALLOCATE,
		syscall.SYS_FSYNC, syscall.SYS_FDATASYNC, syscall.SYS_FCHMOD, syscall.SYS_FCHOWN:
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tr.pid, c.args[0]))
		return err == nil && strings.HasPrefix(path, tr.data)
	case syscall.SYS_OPEN, syscall.SYS_OPENAT:
		flags := c.args[1]
		if c.nr == syscall.SYS_OPENAT {
			flags = c.args[2]
		}
		return flags&(syscall.O_CREAT|syscall.O_TRUNC) != 0
	case syscall.SYS_CREAT, syscall.SYS_MKDIR, syscall.SYS_MKDIRAT, syscall.SYS_RENAME, syscall.SYS_RENAMEAT, 316, // renameat2
		syscall.SYS_LINK, syscall.SYS_LINKAT, syscall.SYS_SYMLINK, syscall.SYS_SYMLINKAT, syscall.SYS_UNLINK, syscall.SYS_UNLINKAT,
		syscall.SYS_RMDIR, syscall.SYS_TRUNCATE, syscall.SYS_CHMOD, syscall.SYS_FCHMODAT, syscall.SYS_CHOWN, syscall.SYS_FCHOWNAT:
		return true
	}
	return false
}

// copyFolder copies the data folder, unless one that is the same was copied.
func (tr *tracer) copyFolder() {
	type entry struct {
		name string
		mode fs.FileMode
		raw  []byte
	}
	var entries []entry
	sum := sha256.New()
	names := ""
	err := filepath.WalkDir(tr.data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not made yet
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{name: strings.TrimPrefix(path, tr.data), mode: info.Mode()}
		if !d.IsDir() {
			if e.raw, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		entries = append(entries, e)
		names += e.name + "\n"
		if !strings.HasSuffix(e.name, "-shm") { // SQLite makes it anew after a kill
			fmt.Fprintf(sum, "%s %v %d\n", e.name, e.mode, len(e.raw))
			sum.Write(e.raw)
		}
		return nil
	})
	if err != nil {
		tr.t.Error(err)
		return
	}
	if key := [32]byte(sum.Sum(nil)); tr.seen[key] {
		return
	} else {
		tr.seen[key] = true
	}
	f := killedFolder{name: fmt.Sprintf("call %d", tr.calls), dir: filepath.Join(tr.to, strconv.Itoa(tr.calls)), fresh: names != tr.names}
	tr.names = names
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		tr.t.Error(err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(f.dir, "data"+e.name)
		if e.mode.IsDir() {
			err = os.Mkdir(path, e.mode.Perm())
		} else {
			err = os.WriteFile(path, e.raw, e.mode.Perm())
		}
		if err != nil {
			tr.t.Error(err)
			return
		}
	}
	tr.folders = append(tr.folders, f)
}
