package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/posternhq/postern/events"
)

// Selector reads labels as roles have them (app_labels), without templates, and
// returns what says whether an app's labels are selected.
func Selector(labels map[string][]string) (func(app map[string]string) bool, error) {
	c := compiler{}
	s := c.side("", events.RoleConditions{AppLabels: labels})
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		for _, v := range labels[key] {
			if p, err := ParsePattern(v); err == nil && p.template != nil {
				return nil, fmt.Errorf("%s: %q: there are no traits here for a template", key, v)
			}
		}
	}
	if len(c.faults) > 0 {
		return nil, c.faults[0].Err
	}
	return func(app map[string]string) bool { return matchLabels(s.labels, app, nil) }, nil
}
