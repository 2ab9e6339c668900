package reap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Status is how a process ended.
type Status struct{ syscall.WaitStatus }

func (s Status) String() string {
	switch {
	case s.Signaled():
		return "killed by " + unix.SignalName(s.Signal())
	case s.ExitStatus() == 0:
		return "ended"
	}
	return fmt.Sprintf("ended with status %d", s.ExitStatus())
}

// Spec says what to start.
type Spec struct {
	Path   string   // the program
	Args   []string // without the program's name
	Env    []string
	Dir    string
	Output *os.File // stdout and stderr; nil = /dev/null
}

// Child is a started process.
type Child struct {
	PID  int
	done chan Status // one value, then closed
}

// Done gives the status once the process has ended.
func (c *Child) Done() <-chan Status { return c.done }

// Signal sends a signal to the child's process group, which it leads; a child
// that has ended is no error.
func (c *Child) Signal(sig syscall.Signal) error {
	if err := syscall.Kill(-c.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("reap: %s to %d: %w", unix.SignalName(sig), c.PID, err)
	}
	return nil
}

// Reaper collects. Its methods may be called concurrently.
type Reaper struct {
	mu       sync.Mutex // guards children, and is held from fork to registration
	children map[int]*Child
	orphans  int
}

// New makes a Reaper; Run must run for children to be collected.
func New() *Reaper { return &Reaper{children: make(map[int]*Child)} }

// Start starts a process in a session and process group of its own.
func (r *Reaper) Start(s Spec) (*Child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reap: %w", err)
	}
	defer null.Close()
	out := s.Output
	if out == nil {
		out = null
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(s.Path, append([]string{s.Path}, s.Args...), &os.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: []*os.File{null, out, out}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("reap: %w", err)
	}
	c := &Child{PID: p.Pid, done: make(chan Status, 1)}
	r.children[p.Pid] = c
	return c, p.Release()
}

// Orphans is how many processes that nobody here had started were collected.
func (r *Reaper) Orphans() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans
}

// Run collects until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGCHLD)
	defer signal.Stop(ch)
	for {
		r.collect() // also what ended before Notify
		select {
		case <-ctx.Done():
			return nil
		case <-ch:
		}
	}
}

// collect waits for every process that has ended by now.
func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c, ours := r.children[pid]
		if !ours {
			r.orphans++
			continue
		}
		delete(r.children, pid)
		c.done <- Status{ws}
		close(c.done)
	}
}
