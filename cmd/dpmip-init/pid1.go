package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/cross/card"
	"github.com/dpmip/dpmip/cross/control"
	"github.com/dpmip/dpmip/cross/health"
	"github.com/dpmip/dpmip/cross/machine"
	"github.com/dpmip/dpmip/cross/reap"
	"github.com/dpmip/dpmip/cross/supervise"
	"github.com/dpmip/dpmip/cross/watchdog"
	"github.com/dpmip/dpmip/internal/buildinfo"
)

// Places of the image.
const (
	imageAgent = "/usr/bin/dpmip-agent"
	scratch    = "/run/slots"
	ringFile   = "/run/dpmip-init.log"
	payload    = "/payload/run" // of the testbed, in an initrd of its own
)

// ending is what the machine does last.
type ending int

const (
	powerOff ending = unix.LINUX_REBOOT_CMD_POWER_OFF
	restart  ending = unix.LINUX_REBOOT_CMD_RESTART
)

// system is PID 1 at work.
type system struct {
	start  time.Time
	log    *log.Logger
	out    io.Writer // what the log and the agent are written to
	cfg    machine.Config
	reaper *reap.Reaper
	card   *card.Card
	sup    *supervise.Supervisor
	agent  *health.Client
	dog    *watchdog.Dog
	end    chan ending
}

// pid1 never returns: the kernel panics when PID 1 ends.
func pid1() {
	s := &system{start: time.Now(), end: make(chan ending, 1), reaper: reap.New()}
	mounted := machine.Mount()
	s.openLog()
	s.note("mounting", mounted)
	s.log.Printf("dpmip-init %s", buildinfo.Version())
	s.last(s.serve())
}

// note logs an error, if there is one. At start everything is tried: a card that
// is half prepared can be repaired over its console, one that has stopped cannot.
func (s *system) note(what string, err error) {
	if err == nil {
		return
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		s.log.Printf("%s: %s", what, line)
	}
}

// serve does what the card is for, until somebody ends it.
func (s *system) serve() ending {
	bg, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() { s.note(name, run(bg)) })
	}
	s.prepare()
	s.openCard()
	reaperStop := s.reap()
	part("control", func(ctx context.Context) error { return control.Serve(ctx, control.Socket, s.handle) })
	if s.dog != nil {
		part("watchdog", func(ctx context.Context) error { return s.dog.Run(ctx, s.alive) })
	}
	if s.sup != nil {
		part("supervisor", s.sup.Run)
		part("boot", s.reportBoot)
		part("trial", s.card.Resume)
		if s.cfg.Metrics != "" {
			part("metrics", s.metrics(s.cfg.Metrics))
		}
	}
	s.startPayload(bg)
	how := s.wait()
	s.log.Printf("going down; the agent's rules stay in the device")
	cancel()
	parts.Wait()
	reaperStop()
	return how
}

// reap collects children until the function it returns is called, which is after
// all who wait for children have ended.
func (s *system) reap() func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.note("reaper", s.reaper.Run(ctx))
	}()
	return func() { cancel(); <-done }
}

// wait blocks until a signal, or a request, ends the card.
func (s *system) wait() ending {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2, unix.SIGPWR)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	// Ctrl-Alt-Del becomes a SIGINT instead of a reset.
	s.note("ctrl-alt-del", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	select {
	case sig := <-ch:
		s.log.Printf("%s", unix.SignalName(sig.(syscall.Signal)))
		if sig == syscall.SIGINT {
			return restart
		}
		return powerOff
	case how := <-s.end:
		return how
	}
}

// last ends the machine in order.
func (s *system) last(how ending) {
	s.note("partition", machine.UnmountConfig())
	if s.dog != nil {
		s.note("watchdog", s.dog.Stop())
	}
	s.log.Printf("down after %v", time.Since(s.start).Round(time.Millisecond))
	s.note("reboot", unix.Reboot(int(how)))
	select {} // the kernel refused: better idle than a panic
}

// alive tells the watchdog's feeder that PID 1 is: its card answers.
func (s *system) alive(context.Context) error {
	if s.card != nil {
		s.card.Status() // takes the lock that everything goes through
	}
	return nil
}

// reportBoot says when the agent served first, counted from the kernel's
// hand-over to PID 1.
func (s *system) reportBoot(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if h, _ := s.agent.Probe(ctx); h == supervise.Well || h == supervise.Sick {
			s.log.Printf("boot: the agent serves %d ms after hand-over", time.Since(s.start).Milliseconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// handle carries out what a person asks.
func (s *system) handle(ctx context.Context, r control.Request, step func(string)) (any, error) {
	switch r.Verb {
	case "status":
		if s.card == nil {
			return nil, errors.New("no agent is run here")
		}
		return s.card.Status(), nil
	case "update":
		return s.update(ctx, r.File, step)
	case "restart":
		if s.sup == nil {
			return nil, errors.New("no agent is run here")
		}
		return nil, s.sup.Restart(ctx)
	case "poweroff", "reboot":
		how := powerOff
		if r.Verb == "reboot" {
			how = restart
		}
		select {
		case s.end <- how:
		default: // it is going down already
		}
		return nil, nil
	}
	return nil, fmt.Errorf("unknown request %q", r.Verb)
}

func (s *system) update(ctx context.Context, file string, step func(string)) (any, error) {
	if s.card == nil {
		return nil, errors.New("no agent is run here")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = s.card.Update(ctx, f, step)
	return s.card.Status(), err
}
