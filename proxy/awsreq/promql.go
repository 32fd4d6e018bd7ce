package awsreq

import (
	"net/http"
	"strings"
)

// lookupPromQL reads CloudWatch's Prometheus-compatible API, of which no service model tells
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-PromQL-APIs.html).
func (t *Table) lookupPromQL(in *Input, r *Request) bool {
	path, ok := strings.CutPrefix(in.Path, "/api/v1/")
	if !ok || in.Method != http.MethodGet && in.Method != http.MethodPost {
		return false
	}
	label, values := strings.CutSuffix(path, "/values")
	label, named := strings.CutPrefix(label, "label/")
	switch {
	case path == "query", path == "query_range":
		r.Operation, r.Action, r.AccessLevel, r.Also = "QueryMetrics", "cloudwatch:GetMetricData", Read, listMetrics
	case path == "series":
		r.Operation, r.Action, r.AccessLevel = "GetSeries", listMetrics[0].Name, listMetrics[0].Level
	case path == "labels", values && named && label != "" && !strings.Contains(label, "/") && in.Method == http.MethodGet:
		r.Operation, r.Action, r.AccessLevel = "GetLabels", listMetrics[0].Name, listMetrics[0].Level
	default:
		return false
	}
	r.Service, r.ActionKnown = "cloudwatch", true
	// The same host takes CloudWatch's other operations, by a form, a header or a path.
	if op, twice := t.byAction(in, in.Host.services); op >= 0 || twice || len(in.Header["X-Amz-Target"]) > 0 || overridden(in) || leadsElsewhere(in.Path) {
		r.doubtful(twoOperations)
	}
	return true
}

var listMetrics = []Action{{"cloudwatch:ListMetrics", List}}
