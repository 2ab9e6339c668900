package scenario

import (
	"context"
	"errors"
)

// StandingPrefix begins the run directories of data centres that stay up until
// they are taken down.
const StandingPrefix = "up"

// Stand brings up a data centre with its VMs attached, tells ready where its
// run directory is, and takes it down when ctx ends.
func Stand(ctx context.Context, s Settings, ready func(dir string) error) (err error) {
	s.Prefix = StandingPrefix
	d, err := Start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for _, v := range d.Lab.Plan.VMs {
		if err := d.Attach(ctx, v.Name, []int{6, 4}); err != nil {
			return d.withLogs(err)
		}
	}
	if err := ready(d.Lab.Set.Dir()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
