package auditor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/posternhq/postern/events"
)

// What auditors divide among them are tasks, each done by one auditor at a time, who
// holds a lease for it: to store a stream, and to judge. As long as it lives, each
// auditor also holds a lease on a place, by which all count how many they are. Who
// has more than its share lets one task go at a time; who has less takes what is
// free. When one dies, its place ends with its leases, and the shares of the others
// grow.

// task is a part of the work.
type task struct {
	name, lease string
	run         func(ctx context.Context, held func() bool) error
}

// tasks are all, in the order in which an auditor keeps them: the judge beside what
// it has most of. Before there were tasks, the judge's lease was for everything.
func (a *Auditor) tasks() []task {
	all := []task{{"judge", consumerNameStart + "lease", a.judgeWhile}}
	for _, stream := range []string{events.Audit, events.Access, events.CloudTrail, events.Findings} {
		all = append(all, task{stream, consumerNameStart + "lease-" + stream, func(ctx context.Context, held func() bool) error { return a.sink(ctx, stream, held) }})
	}
	return all
}

// judgeWhile judges for as long as it is this one's to judge.
func (a *Auditor) judgeWhile(ctx context.Context, held func() bool) error {
	j := newJudge(a, held)
	a.judge.Store(j)
	defer a.open.Store(0)
	defer a.judge.Store(nil)
	return j.run(ctx)
}

const (
	// places is how many auditors divide the work at most; more only answer.
	places = 8
	// countEvery is how often they are counted.
	countEvery = time.Second
	// settleFor is how long a task is kept at least, and the time between two that are
	// let go: longer than a lease outlives its holder.
	settleFor = 6 * time.Second
)

// errLetGo ends a lease that is given up.
var errLetGo = errors.New("let go")

// division is what an auditor knows of it.
type division struct {
	mu     sync.Mutex
	tasks  int
	alive  int // auditors, this one included
	held   map[string]context.CancelFunc
	moved  time.Time // when a task was last taken or let go
	placed bool
}

// Tasks names what this auditor does of what auditors divide: the streams that it
// stores, and "judge".
func (a *Auditor) Tasks() (names []string) {
	d := a.division
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.held))
}

func (a *Auditor) divide(part func(name string, run func(context.Context) error)) {
	tasks, d := a.tasks(), a.division
	d.tasks = len(tasks)
	part("place", func(ctx context.Context) error { return a.keepPlace(ctx, d) })
	part("division", func(ctx context.Context) error {
		for {
			if err := a.count(ctx, d); err == nil {
				d.balance(tasks, time.Now())
			}
			if !sleep(ctx, countEvery) {
				return nil
			}
		}
	})
	for _, t := range tasks {
		part(t.name, func(ctx context.Context) error { return a.work(ctx, d, t) })
	}
}

// work does a task whenever it is free and this auditor has less than its share.
func (a *Auditor) work(ctx context.Context, d *division, t task) error {
	for ctx.Err() == nil {
		if !d.wants() {
			sleep(ctx, countEvery/4)
			continue
		}
		trying, stop := context.WithCancel(ctx)
		go func() { // what another one has is not waited for
			if sleep(trying, countEvery) && !d.has(t.name) {
				stop()
			}
		}()
		err := a.c.Journal.Lease(trying, events.Findings, t.lease, func(ctx context.Context, held func() bool) error {
			ctx, letGo := context.WithCancel(ctx)
			defer letGo()
			if !d.take(t.name, letGo) {
				return errLetGo
			}
			defer d.lose(t.name)
			a.c.Log.Debug().Str("task", t.name).Msg("does it from now on")
			if err := t.run(ctx, held); err != nil {
				return err
			}
			return errLetGo
		})
		stop()
		if err != nil && !errors.Is(err, errLetGo) && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// share is how many tasks an auditor does at most.
func (d *division) share() int {
	alive := max(d.alive, 1)
	return (d.tasks + alive - 1) / alive
}

func (d *division) wants() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.alive > 0 && len(d.held) < d.share()
}

func (d *division) has(task string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held[task] != nil
}

func (d *division) take(task string, letGo context.CancelFunc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.held) >= d.share() {
		return false
	}
	d.held[task], d.moved = letGo, time.Now()
	return true
}

func (d *division) lose(task string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.held, task)
}

// balance lets one task go if there are too many, the last of those held.
func (d *division) balance(tasks []task, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.held) <= d.share() || now.Sub(d.moved) < settleFor {
		return
	}
	for i := len(tasks) - 1; i >= 0; i-- {
		if letGo := d.held[tasks[i].name]; letGo != nil {
			d.moved = now
			letGo()
			return
		}
	}
}

func placeName(i int) string { return fmt.Sprintf("%splace-%d", consumerNameStart, i) }

// count finds out how many auditors there are.
func (a *Auditor) count(ctx context.Context, d *division) error {
	alive := 0
	for i := range places {
		taken, err := a.c.Journal.Leased(ctx, events.Findings, placeName(i))
		if err != nil {
			return err
		}
		if taken {
			alive++
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.placed {
		alive++
	}
	d.alive = alive
	return nil
}

// keepPlace holds one of the places.
func (a *Auditor) keepPlace(ctx context.Context, d *division) error {
	set := func(placed bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.placed = placed
	}
	for ctx.Err() == nil {
		for i := range places {
			if taken, err := a.c.Journal.Leased(ctx, events.Findings, placeName(i)); err != nil || taken {
				continue
			}
			trying, stop := context.WithCancel(ctx)
			have := make(chan struct{})
			go func() { // another one may be faster
				select {
				case <-have:
				case <-trying.Done():
				case <-time.After(countEvery):
					stop()
				}
			}()
			err := a.c.Journal.Lease(trying, events.Findings, placeName(i), func(ctx context.Context, _ func() bool) error {
				close(have)
				set(true)
				defer set(false)
				<-ctx.Done()
				return errLetGo
			})
			stop()
			if err != nil && !errors.Is(err, errLetGo) && ctx.Err() == nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		sleep(ctx, countEvery)
	}
	return nil
}
