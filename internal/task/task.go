package task

import (
	"context"
	"errors"
	"fmt"
)

// Task is one long-lived part. Run blocks until ctx is done (returning nil, or
// ctx's error, which counts as nil) or until it fails; String names it in logs
// and errors.
type Task interface {
	Run(ctx context.Context) error
	String() string
}

// Readier is a Task that says when it serves: Ready returns a channel that is
// closed then. A Group starts the next task only after that.
type Readier interface {
	Task
	Ready() <-chan struct{}
}

// Func makes a Task of a function.
func Func(name string, run func(ctx context.Context) error) Task { return &fn{name, run} }

type fn struct {
	name string
	run  func(ctx context.Context) error
}

func (f *fn) Run(ctx context.Context) error { return f.run(ctx) }
func (f *fn) String() string                { return f.name }

// Group runs tasks; the zero value of OnReady is allowed.
type Group struct {
	Tasks []Task
	// OnReady is called once, when every task runs and every Readier is ready.
	OnReady func()
}

// result is the end of one task.
type result struct {
	index int
	err   error
}

// Run starts the tasks in order and blocks until all have ended. The first
// failure, or ctx's end, stops them in reverse order, one after the other. It
// returns the errors of all that failed, each with its task's name.
func (g Group) Run(ctx context.Context) error {
	var (
		n       = len(g.Tasks)
		cancels = make([]context.CancelFunc, 0, n)
		done    = make([]chan struct{}, n)
		results = make(chan result, n)
		failed  []error
		ended   int
	)
	note := func(r result) {
		ended++
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			failed = append(failed, fmt.Errorf("%s: %w", g.Tasks[r.index], r.err))
		}
	}
	started := 0
	for i, t := range g.Tasks {
		// Not a child of ctx: a task ends when its turn comes, not all at once.
		tctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels = append(cancels, cancel)
		done[i] = make(chan struct{})
		go func() {
			err := t.Run(tctx)
			close(done[i])
			results <- result{i, err}
		}()
		started++
		if !ready(ctx, t, done[i]) {
			break
		}
	}
	if started == n && ended == 0 {
		if g.OnReady != nil {
			g.OnReady()
		}
		select {
		case <-ctx.Done():
		case r := <-results:
			note(r)
		}
	}
	for i := started - 1; i >= 0; i-- {
		cancels[i]()
		<-done[i]
	}
	for ended < started {
		note(<-results)
	}
	return errors.Join(failed...)
}

// ready waits for a Readier; false when it ended first or ctx is done.
func ready(ctx context.Context, t Task, done <-chan struct{}) bool {
	r, ok := t.(Readier)
	if !ok {
		return ctx.Err() == nil
	}
	select {
	case <-r.Ready():
		return true
	case <-done:
		return false
	case <-ctx.Done():
		return false
	}
}
