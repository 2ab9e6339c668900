package bind

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// StartTimeout is how long named may take to load its zones.
const StartTimeout = 30 * time.Second

// ErrNotInstalled says that Debian's package bind9 is missing.
var ErrNotInstalled = errors.New("bind: no /usr/sbin/named (install Debian's bind9)")

const (
	program = "/usr/sbin/named"
	account = "bind"
)

// Server is one named, running or stopped. It is not safe for concurrent use.
type Server struct {
	ns   *netns.NS
	dir  string
	cfg  Config
	proc *netns.Process
	log  *journal
}

// New writes the configuration and zone files into dir, which must lie in the
// Set's directory. Start starts it.
func New(ns *netns.NS, dir string, cfg Config) (*Server, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, ErrNotInstalled
	}
	uid, gid, err := ids()
	if err != nil {
		return nil, err
	}
	s := &Server{ns: ns, dir: dir, cfg: cfg}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	for _, z := range cfg.Zones {
		if len(z.Primaries) > 0 {
			continue
		}
		if err := s.write(z.file(), z.text(cfg.Addr), uid, gid); err != nil {
			return nil, err
		}
	}
	return s, s.write("named.conf", cfg.conf(dir), uid, gid)
}

// Configure replaces named.conf; a running server takes it with Reload. Zone
// files stay as they are.
func (s *Server) Configure(cfg Config) error {
	uid, gid, err := ids()
	if err != nil {
		return err
	}
	s.cfg = cfg
	return s.write("named.conf", cfg.conf(s.dir), uid, gid)
}

func (s *Server) write(name, text string, uid, gid int) error {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func ids() (uid, gid int, err error) {
	u, err := user.Lookup(account)
	if err != nil {
		return 0, 0, fmt.Errorf("bind: %w", err)
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	return uid, gid, errors.Join(uerr, gerr)
}

// Start runs named and returns when it serves its zones.
func (s *Server) Start() error {
	uid, gid, err := ids()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "-g", "-n", "1", "-c", filepath.Join(s.dir, "named.conf"))
	// Not by -u: a process that changes its user loses the signal that ends it
	// with a killed lab.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	s.proc, err = s.ns.Start(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return err
	}
	s.log = newJournal(r)
	if err := s.wait("running"); err != nil {
		return err
	}
	if !strings.Contains(s.log.text(), " listening on ") {
		return fmt.Errorf("bind: named does not listen: no interface has the address %v", s.cfg.Addr)
	}
	return nil
}

// Reload makes a running server read its configuration again and returns when
// it has.
func (s *Server) Reload() error {
	s.log.forget()
	if err := s.proc.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return s.wait("running")
}

// wait for a line of the log that ends so.
func (s *Server) wait(end string) error {
	timer := time.NewTimer(StartTimeout)
	defer timer.Stop()
	for {
		line, changed := s.log.find(end)
		if line {
			return nil
		}
		select {
		case <-changed:
		case <-s.proc.Done():
			return fmt.Errorf("bind: named ended:\n%s", s.log.text())
		case <-timer.C:
			return fmt.Errorf("bind: named is not %s after %v:\n%s", end, StartTimeout, s.log.text())
		}
	}
}

// Stop ends named in order; Start may follow.
func (s *Server) Stop() error { return s.proc.Stop() }

// Kill is the crash of named; Start may follow.
func (s *Server) Kill() error { return s.proc.Kill() }

// Freeze stops the process where it is: its sockets still accept, nothing
// answers. Thaw lets it go on.
func (s *Server) Freeze() error { return s.proc.Freeze() }

// Thaw ends Freeze.
func (s *Server) Thaw() error { return s.proc.Signal(syscall.SIGCONT) }

// Log is what named has said since its start.
func (s *Server) Log() string { return s.log.text() }

// journal keeps what comes out of a pipe and wakes those who wait for a line.
type journal struct {
	mu      sync.Mutex // guards the fields below
	lines   []string
	from    int // lines before it are forgotten by find
	changed chan struct{}
}

func newJournal(r io.ReadCloser) *journal {
	j := &journal{changed: make(chan struct{})}
	go func() {
		defer r.Close()
		for sc := bufio.NewScanner(r); sc.Scan(); {
			j.add(sc.Text())
		}
	}()
	return j
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) find(end string) (found bool, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines[j.from:] {
		if strings.HasSuffix(l, " "+end) {
			return true, j.changed
		}
	}
	return false, j.changed
}

func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.from = len(j.lines)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}
