package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a machine without a zone database must not decide otherwise

	"github.com/posternhq/postern/events"
)

// schedule is a set of weekly windows in one time zone.
type schedule struct {
	zone    *time.Location
	windows []window
}

// window is open on each of days from start until end, in minutes of the wall
// clock; an end that is not later than the start is on the day after.
type window struct {
	days       [7]bool
	start, end int
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

func parseSchedule(s events.Schedule) (*schedule, error) {
	zone, err := time.LoadLocation(s.TimeZone) // "" is UTC
	if err != nil || s.TimeZone == "Local" {
		return nil, fmt.Errorf("%q is not a time zone such as Europe/Berlin", s.TimeZone)
	}
	if len(s.Windows) == 0 {
		return nil, fmt.Errorf("a schedule has one window at least")
	}
	out := &schedule{zone: zone}
	for _, w := range s.Windows {
		var win window
		for _, d := range w.Days {
			i := slices.IndexFunc(weekdays, func(name string) bool {
				return len(d) >= 3 && strings.HasPrefix(name, strings.ToLower(d))
			})
			if i < 0 {
				return nil, fmt.Errorf("%q is not a day of the week", d)
			}
			win.days[i] = true
		}
		if len(w.Days) == 0 {
			win.days = [7]bool{true, true, true, true, true, true, true}
		}
		if win.start, err = minutes(w.Start); err != nil {
			return nil, err
		}
		if win.end, err = minutes(w.End); err != nil {
			return nil, err
		}
		out.windows = append(out.windows, win)
	}
	return out, nil
}

// minutes reads "08:30"; "24:00" is the end of a day.
func minutes(s string) (int, error) {
	if s == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of day such as 08:30", s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// open reports whether a moment is in one of the windows. No schedule is always
// open.
func (s *schedule) open(now time.Time) bool {
	if s == nil {
		return true
	}
	local := now.In(s.zone)
	day, minute := int(local.Weekday()), local.Hour()*60+local.Minute()
	yesterday := (day + 6) % 7
	for _, w := range s.windows {
		if w.end > w.start {
			if w.days[day] && minute >= w.start && minute < w.end {
				return true
			}
			continue
		}
		if w.days[day] && minute >= w.start || w.days[yesterday] && minute < w.end {
			return true
		}
	}
	return false
}
