package card

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dpmip/dpmip/cross/health"
)

// ErrUnfit is a bundle that did not prove itself; the card has returned to what
// ran before.
var ErrUnfit = errors.New("card: the update did not prove itself, and was taken back")

// Update takes the bundle of r: checked and written to the free slot, started,
// watched, and confirmed or taken back. watch (nil = nobody) hears of every
// step. An error before the switch leaves everything as it was.
func (c *Card) Update(ctx context.Context, r io.Reader, watch func(string)) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	c.mu.Lock()
	running := c.choice.Slot
	c.mu.Unlock()
	before, err := c.cfg.Doctor.Doctor(ctx)
	if err != nil {
		c.say(watch, "the running agent does not say how it is: %v", err)
	}
	c.say(watch, "reading and checking the bundle")
	m, slot, err := c.cfg.Store.Install(r, running)
	if err != nil {
		c.Count(Refused)
		return err
	}
	c.say(watch, "version %d (%s) is in slot %s, starting it", m.Version, m.Release, slot)
	if err := c.cfg.Store.Begin(slot, c.cfg.Tries); err != nil {
		c.Count(Refused)
		return err
	}
	agent := c.Boot()
	c.mu.Lock()
	trial := c.choice.Trial
	c.mu.Unlock()
	if !trial { // what was just written cannot be read back, or the try not counted
		return c.back(ctx, watch, agent, "it could not be started from its slot")
	}
	if err := c.cfg.Runner.Switch(ctx, agent); err != nil {
		return c.back(ctx, watch, c.cfg.Image, err.Error())
	}
	return c.judge(ctx, watch, before)
}

// Resume goes on with a trial that a restart of the card has interrupted; it
// returns at once where there is none.
func (c *Card) Resume(ctx context.Context) error {
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	c.mu.Lock()
	trial := c.choice.Trial
	c.mu.Unlock()
	if !trial {
		return nil
	}
	c.say(nil, "going on with the trial that a restart has interrupted")
	return c.judge(ctx, nil, nil)
}

// judge watches the agent on trial to its verdict.
func (c *Card) judge(ctx context.Context, watch func(string), before map[string]health.Check) error {
	why := c.watch(ctx, watch, before)
	if ctx.Err() != nil {
		return ctx.Err() // the card goes down: the next start goes on
	}
	if why != "" {
		if err := c.cfg.Store.Refuse(why); err != nil {
			// It is on trial still, with fewer tries: the next start returns, too.
			c.say(watch, "the return could not be written down: %v", err)
		}
		return c.back(ctx, watch, c.Boot(), why)
	}
	if err := c.cfg.Store.Confirm(); err != nil {
		return fmt.Errorf("card: it is fit, but could not be confirmed; the next start tries again: %w", err)
	}
	c.mu.Lock()
	c.choice.Trial = false
	c.mu.Unlock()
	c.remember()
	c.Count(Confirmed)
	c.say(watch, "confirmed")
	return nil
}

// watch asks until the agent was fit for the settling time ("") or the deadline
// has passed (why not).
func (c *Card) watch(ctx context.Context, watch func(string), before map[string]health.Check) string {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Deadline)
	defer cancel()
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	var since time.Time
	why, told := "it was never asked", ""
	c.mu.Lock()
	c.ends = 0 // the end of the one before was none of this one's
	c.mu.Unlock()
	for {
		if bad := c.crashes(); bad != "" {
			return bad
		}
		now, err := c.cfg.Doctor.Doctor(ctx)
		if err == nil {
			why = health.Fit(before, now)
		} else if ctx.Err() == nil {
			why = err.Error()
		}
		switch {
		case why != "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= c.cfg.Settle:
			return ""
		}
		if why != told && why != "" {
			c.say(watch, "not fit yet: %s", why)
		}
		told = why
		select {
		case <-ctx.Done():
			if why == "" {
				why = fmt.Sprintf("not fit for %v without a break", c.cfg.Settle)
			}
			return fmt.Sprintf("not fit within %v: %s", c.cfg.Deadline, why)
		case <-tick.C:
		}
	}
}

// back runs another agent, the one from before, and says so.
func (c *Card) back(ctx context.Context, watch func(string), agent, why string) error {
	c.Count(TakenBack)
	c.say(watch, "returning: %s", why)
	if err := c.cfg.Runner.Switch(ctx, agent); err != nil {
		return fmt.Errorf("%w: %s (and the return: %w)", ErrUnfit, why, err)
	}
	return fmt.Errorf("%w: %s", ErrUnfit, why)
}
