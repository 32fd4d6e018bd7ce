package simaws

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// demoLogGroup is there without anybody's doing: the demo function's.
const demoLogGroup = "/aws/lambda/" + onlyThing

// begin makes what is in the log groups from the beginning, below an account and region's
// "arn:…:log-group:".
func (l *logGroups) begin(base string) {
	if l.all[base+demoLogGroup] == nil {
		l.all[base+demoLogGroup] = &logGroup{name: demoLogGroup, made: madeAt * 1000}
	}
}

// describe lists an account's log groups in a region, by name:
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html
// mu is held.
func (l *logGroups) describe(in *logsInput, base string) (any, error) {
	if in.LogGroupNamePrefix != "" && in.LogGroupNamePattern != "" {
		return nil, failure(http.StatusBadRequest, "InvalidParameterException", "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	var groups []*logGroup
	for arn, g := range l.all {
		if strings.HasPrefix(arn, base) && strings.HasPrefix(g.name, in.LogGroupNamePrefix) && strings.Contains(strings.ToLower(g.name), strings.ToLower(in.LogGroupNamePattern)) {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b *logGroup) int { return strings.Compare(a.name, b.name) })
	from, _ := strconv.Atoi(in.NextToken)
	from = min(max(from, 0), len(groups))
	to := min(from+cmp.Or(max(in.Limit, 0), 50), len(groups))
	found := []any{}
	for _, g := range groups[from:to] {
		stored := 0
		for _, e := range g.events {
			stored += len(e.Message) + 26 // as they are billed
		}
		found = append(found, map[string]any{"logGroupName": g.name, "arn": base + g.name + ":*", "logGroupArn": base + g.name, "creationTime": g.made,
			"metricFilterCount": 0, "storedBytes": stored, "logGroupClass": "STANDARD"})
	}
	out := map[string]any{"logGroups": found}
	if to < len(groups) {
		out["nextToken"] = strconv.Itoa(to)
	}
	return out, nil
}
