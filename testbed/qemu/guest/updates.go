package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/dpmip/dpmip/cross/card"
	"github.com/dpmip/dpmip/cross/control"
	"github.com/dpmip/dpmip/cross/health"
	"github.com/dpmip/dpmip/cross/ringlog"
	"github.com/dpmip/dpmip/cross/supervise"
)

const (
	mgmtProgram = "/payload/dpmip-mgmt"
	agentSocket = "/run/dpmip/agent.sock"
	patience    = 120 * time.Second
)

// call asks PID 1 and decodes the card's state.
func call(r control.Request, step func(string)) (card.Status, error) {
	var st card.Status
	b, err := control.Call(context.Background(), control.Socket, r, step)
	if len(b) > 0 {
		err = errors.Join(err, json.Unmarshal(b, &st))
	}
	return st, err
}

func status() (card.Status, error) { return call(control.Request{Verb: "status"}, nil) }

// until asks again and again, for the machine is slow.
func until(what string, good func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := good()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// prepare starts the management node and attaches the VM.
func prepare(r *reporter) error {
	cmd := exec.Command(mgmtProgram, "--config", "/payload/mgmt.toml")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	agent := health.New(agentSocket)
	err := until("the agent", func() error {
		if h, text := agent.Probe(context.Background()); h != supervise.Well {
			return fmt.Errorf("%v: %s", h, text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.say("boot", nil, bootLine())
	err = until("attaching the VM", func() error {
		out, err := exec.Command("/usr/bin/dpmipctl", "vm", "attach", "db1@dc1.example",
			"--mac", "02:00:00:00:00:01", "--address", "2001:db8:a:1::53").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return until("fit", func() error {
		checks, err := agent.Doctor(context.Background())
		if err != nil {
			return err
		}
		if why := health.Fit(nil, checks); why != "" {
			return errors.New(why)
		}
		return nil
	})
}

// bootLine is what PID 1 says of the start.
func bootLine() []string {
	b, err := ringlog.Read("/run/dpmip-init.log")
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, line := range strings.Split(string(b), "\n") {
		if strings.Contains(line, "boot: ") || strings.Contains(line, "modules loaded") {
			out = append(out, line)
		}
	}
	return out
}

// updates carries out one update of each kind.
func updates(r *reporter) {
	if err := prepare(r); err != nil {
		r.say("prepare", err, nil)
		return
	}
	for _, u := range []struct {
		name    string
		refused string // in what PID 1 says; "" = it is taken
		version uint64 // that runs afterwards
	}{
		{"good", "", 2},
		{"forged", "signature", 2},
		{"older", "fuse", 2},
		{"crashes", "taken back", 2},
		{"hangs", "taken back", 2},
		{"better", "", 5},
	} {
		before, _ := pid()
		st, err := call(control.Request{Verb: "update", File: "/payload/" + u.name + ".bundle"}, func(s string) { fmt.Println("guest:", s) })
		switch {
		case u.refused == "" && err != nil, u.refused != "" && (err == nil || !strings.Contains(err.Error(), u.refused)):
			err = fmt.Errorf("want %q, got: %v", u.refused, err)
		case st.Version != u.version || st.Trial:
			err = fmt.Errorf("runs %+v, want version %d", st, u.version)
		default:
			err = untouched(u.refused, before)
		}
		if err == nil {
			err = serving()
		}
		r.say("update "+u.name, err, st)
	}
}

// untouched: a bundle that is refused unread leaves the very process running.
func untouched(refused, before string) error {
	if refused != "signature" && refused != "fuse" {
		return nil
	}
	now, err := pid()
	if err == nil && now != before {
		return fmt.Errorf("the agent was restarted: %s, %s", before, now)
	}
	return err
}

// pid is the agent's.
func pid() (string, error) {
	procs, err := os.ReadDir("/proc")
	for _, p := range procs {
		name, err := os.ReadFile("/proc/" + p.Name() + "/comm")
		if err == nil && strings.TrimSpace(string(name)) == card.Agent {
			return p.Name(), nil
		}
	}
	return "", errors.Join(err, errors.New("no agent runs"))
}

// serving: the VM is still the agent's, and its rules are in the device.
func serving() error {
	agent := health.New(agentSocket)
	return until("after the update", func() error {
		if h, text := agent.Probe(context.Background()); h != supervise.Well {
			return fmt.Errorf("%v: %s", h, text)
		}
		b, err := exec.Command("/usr/bin/dpmipctl", "vm", "list").CombinedOutput()
		if err != nil || !strings.Contains(string(b), "db1@dc1.example") {
			return fmt.Errorf("the VM is gone: %v: %s", err, b)
		}
		checks, err := agent.Doctor(context.Background())
		if err != nil {
			return err
		}
		if why := health.Fit(nil, checks); why != "" {
			return errors.New(why)
		}
		return nil
	})
}

// cut starts an update that will be cut: it reports when the trial runs.
func cut(r *reporter) {
	if err := prepare(r); err != nil {
		r.say("prepare", err, nil)
		return
	}
	_, err := call(control.Request{Verb: "update", File: "/payload/hangs.bundle"}, func(s string) {
		if strings.HasPrefix(s, "not fit yet") {
			r.say("trial", nil, s)
		}
	})
	r.say("not cut", fmt.Errorf("the power stayed on: %v", err), nil)
}

// after is the next start: the trial goes on, and the card returns.
func after(r *reporter) {
	st, err := status()
	if err == nil && (!st.Trial || st.Version != 4) {
		err = fmt.Errorf("runs %+v, want version 4 on trial", st)
	}
	r.say("goes on", err, st)
	err = until("return", func() error {
		if st, err = status(); err == nil && (st.Trial || st.Doing != "") {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	if err == nil && (st.Slot != "image" || st.Refused == nil) {
		err = fmt.Errorf("runs %+v, want the image's own", st)
	}
	r.say("returned", err, st)
	if err := prepare(r); err != nil {
		r.say("prepare", err, nil)
		return
	}
	r.say("serves again", serving(), nil)
}
