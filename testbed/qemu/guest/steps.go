package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/cross/modules"
	"github.com/dpmip/dpmip/testbed/qemu"
)

const (
	stepTime = 2 * time.Minute
	tailSize = 6000 // bytes of a failed program's output that go into its result
)

// steps runs what the host has listed, one after the other.
func steps(r *reporter) {
	if n, err := modules.Load(qemu.Payload+"/modules", "list"); err != nil {
		r.say("modules", err, n)
		return
	}
	r.say("memory for maps", unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}), nil)
	list, err := qemu.ReadSteps(qemu.StepFile)
	if err != nil {
		r.say("steps", err, nil)
		return
	}
	for _, s := range list {
		fmt.Printf("guest: %s begins\n", s.Name)
		start := time.Now()
		data, err := carryOut(s)
		r.report(s.Name, err, data, time.Since(start))
	}
}

// carryOut runs one step and gives the data of its result.
func carryOut(s qemu.Step) (any, error) {
	most := s.Time
	if most == 0 {
		most = stepTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=/tmp"}, s.Env...)
	cmd.Dir = s.Dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// With its children, which hold the output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", most)
	}
	data, more := figures(s, out.String())
	if err = errors.Join(err, more); err != nil {
		text := out.String()
		fmt.Printf("guest: %s:\n%s\n", s.Name, text)
		if s.Tests {
			text = withoutPassed(text)
		}
		err = fmt.Errorf("%w\n%s", err, text[max(0, len(text)-tailSize):])
	}
	return data, err
}

// figures are what a program has measured or counted.
func figures(s qemu.Step, out string) (any, error) {
	if s.Tests {
		c := count(out)
		if c.Passed == 0 {
			return c, errors.New("no test has passed")
		}
		return c, nil
	}
	if s.Figures == "" {
		return nil, nil
	}
	b, err := os.ReadFile(s.Figures)
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, fmt.Errorf("%s is no JSON", s.Figures)
	}
	return json.RawMessage(b), nil
}

// withoutPassed leaves out the lines of a test binary with -test.v that tell of
// nothing but tests which begin, wait or pass.
func withoutPassed(out string) string {
	var b strings.Builder
	from := "" // the line that says whose output follows
	for line := range strings.Lines(out) {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "=== "):
			from = line
		case strings.HasPrefix(text, "--- PASS: "), text == "PASS":
			from = ""
		default:
			b.WriteString(from + line)
			from = ""
		}
	}
	return b.String()
}

// count reads what a test binary prints with -test.v.
func count(out string) (c qemu.TestCounts) {
	for _, line := range strings.Split(out, "\n") {
		verdict, name, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		switch verdict {
		case "--- PASS":
			c.Passed++
		case "--- FAIL":
			c.Failed++
		case "--- SKIP":
			c.Skipped = append(c.Skipped, name)
		}
	}
	return c
}
