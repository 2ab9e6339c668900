package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/dpmip/dpmip/cross/reap"
)

// Program is what to run.
type Program struct {
	Path string
	Args []string
	Env  []string
	Dir  string
}

// Supervisor keeps a program running. Switch and Restart may be called from any
// goroutine while Run runs.
type Supervisor struct {
	cfg      Config
	program  Program // owned by Run
	switches chan order
	stopped  chan struct{} // closed when Run has returned
}

// order is a change of program (nil = the same again), with an answer once the
// old process has ended.
type order struct {
	program *Program
	done    chan struct{}
}

// ErrStopped is the answer of a supervisor whose Run has ended.
var ErrStopped = errors.New("supervise: stopped")

// New makes a Supervisor of program; Run starts it.
func New(cfg Config, program Program) *Supervisor {
	return &Supervisor{cfg: cfg.withDefaults(), program: program, switches: make(chan order), stopped: make(chan struct{})}
}

// Switch ends what runs and runs another program from now on. It returns when
// the old process has ended; the new one starts at once.
func (s *Supervisor) Switch(ctx context.Context, p Program) error { return s.order(ctx, &p) }

// Restart ends what runs and starts it again at once.
func (s *Supervisor) Restart(ctx context.Context) error { return s.order(ctx, nil) }

func (s *Supervisor) order(ctx context.Context, p *Program) error {
	o := order{p, make(chan struct{})}
	select {
	case s.switches <- o:
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-o.done:
		return nil
	case <-s.stopped:
		return ErrStopped
	}
}

// Run runs the program until ctx ends, then ends it.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.stopped)
	delay := s.cfg.MinDelay
	for ctx.Err() == nil {
		started := time.Now()
		ordered := s.once(ctx)
		if ordered || time.Since(started) >= s.cfg.Settled {
			delay = s.cfg.MinDelay
		}
		if ordered || ctx.Err() != nil {
			continue
		}
		if s.wait(ctx, delay) {
			delay = s.cfg.MinDelay
		} else {
			delay = min(2*delay, s.cfg.MaxDelay)
		}
	}
	return nil
}

// wait is the pause before the next start; an order ends it: true.
func (s *Supervisor) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-ctx.Done():
		return false
	case o := <-s.switches:
		s.obey(o)
		return true
	}
}

func (s *Supervisor) obey(o order) {
	if o.program != nil {
		s.program = *o.program
	}
	close(o.done)
}

func (s *Supervisor) event(k EventKind, pid int, detail string) {
	s.cfg.Event(Event{Kind: k, Program: s.program.Path, PID: pid, Detail: detail})
}

// once runs the program to its end and says whether an order ended it.
func (s *Supervisor) once(ctx context.Context) (ordered bool) {
	child, copied, err := s.start()
	if err != nil {
		s.event(Failed, 0, err.Error())
		return false
	}
	defer func() { <-copied }()
	s.event(Started, child.PID, "")
	probes, stopProbes := s.probes(ctx)
	defer stopProbes()
	j := judge{cfg: &s.cfg, start: time.Now()}
	for {
		select {
		case st := <-child.Done():
			s.ended(child, st)
			return false
		case <-ctx.Done():
			s.end(child)
			return false
		case o := <-s.switches:
			s.end(child)
			s.obey(o)
			return true
		case p := <-probes:
			if why := j.next(p, time.Now()); why != "" {
				s.event(Unhealthy, child.PID, why)
				s.end(child)
				return false
			}
		}
	}
}

// start starts the program with its output in a pipe; copied is closed when
// that has run dry.
func (s *Supervisor) start() (child *reap.Child, copied chan struct{}, err error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := s.program
	child, err = s.cfg.Starter.Start(reap.Spec{Path: p.Path, Args: p.Args, Env: p.Env, Dir: p.Dir, Output: pw})
	pw.Close()
	if err != nil {
		pr.Close()
		return nil, nil, err
	}
	copied = make(chan struct{})
	go func() {
		defer close(copied)
		defer pr.Close()
		_, _ = io.Copy(s.cfg.Output, pr) // a log that fails must not stop the program
	}()
	return child, copied, nil
}

// end ends the child, politely first.
func (s *Supervisor) end(child *reap.Child) {
	_ = child.Signal(syscall.SIGTERM) // what cannot be told is killed below
	t := time.NewTimer(s.cfg.Stop)
	defer t.Stop()
	select {
	case st := <-child.Done():
		s.ended(child, st)
	case <-t.C:
		s.event(Killed, child.PID, "it ignored SIGTERM for "+s.cfg.Stop.String())
		_ = child.Signal(syscall.SIGKILL)
		s.ended(child, <-child.Done())
	}
}

// ended also ends what the child may have left in its group.
func (s *Supervisor) ended(child *reap.Child, st reap.Status) {
	_ = child.Signal(syscall.SIGKILL)
	s.event(Ended, child.PID, st.String())
}
