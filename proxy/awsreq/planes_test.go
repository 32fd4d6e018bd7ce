package awsreq

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plane is a request of an API that no service model describes.
type plane struct {
	line      string
	header    http.Header
	body      string
	op        string // "" if it is of none that is known
	action    string
	level     AccessLevel
	resources []string
}

func recognizePlanes(t *testing.T, service, signing string, planes []plane) {
	t.Helper()
	tab := newTable(t)
	for _, c := range planes {
		in := request(t, tab, c.line, c.header, c.body)
		if in.SigningName, in.SigningRegion = signing, "us-east-1"; in.Host.SigningName != signing {
			t.Errorf("%s: the host is signed for %s", c.line, in.Host.SigningName)
		}
		r := tab.Recognize(in)
		if r.Operation != c.op || r.Action != c.action || r.AccessLevel != c.level || r.ActionKnown != (c.op != "") || r.Ambiguous {
			t.Errorf("%s: %s %s %s (known %v, ambiguous %v), want %s %s %s", c.line, r.Operation, r.Action, r.AccessLevel, r.ActionKnown, r.Ambiguous, c.op, c.action, c.level)
		}
		if r.Service != service {
			t.Errorf("%s: service %s", c.line, r.Service)
		}
		if d := cmp.Diff(c.resources, r.Resources); d != "" {
			t.Errorf("%s: resources %s", c.line, d)
		}
		if n := testing.AllocsPerRun(10, func() { tab.Lookup(in) }); n != 0 {
			t.Errorf("%s: %v allocations", c.line, n)
		}
	}
}

// As Prometheus, Grafana and their Alertmanager send them: POSTs with a form, series
// selectors several times, samples compressed.
func TestPrometheus(t *testing.T) {
	const ws = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/"
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	snappy := http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"}}
	arn := []string{"arn:aws:aps:us-east-1:" + account + ":workspace/ws-1"}
	recognizePlanes(t, "amp", "aps", []plane{
		{"POST " + ws + "api/v1/remote_write", snappy, "\x80\x02\xf4", "RemoteWrite", "aps:RemoteWrite", Write, arn},
		{"GET " + ws + "api/v1/query?query=up%7Bjob%3D%22a%22%7D&time=1", nil, "", "QueryMetrics", "aps:QueryMetrics", Read, arn},
		{"POST " + ws + "api/v1/query", form, "query=up&workspaceId=ws-2", "QueryMetrics", "aps:QueryMetrics", Read, arn},
		{"POST " + ws + "api/v1/query_range", form, "query=up&start=1&end=2&step=15", "QueryMetrics", "aps:QueryMetrics", Read, arn},
		{"GET " + ws + "api/v1/labels?match%5B%5D=up&match%5B%5D=down", nil, "", "GetLabels", "aps:GetLabels", Read, arn},
		{"POST " + ws + "api/v1/labels", form, "match%5B%5D=up&match%5B%5D=down", "GetLabels", "aps:GetLabels", Read, arn},
		{"GET " + ws + "api/v1/label/__name__/values", nil, "", "GetLabels", "aps:GetLabels", Read, arn},
		{"GET " + ws + "api/v1/series?match[]=up&match[]=down", nil, "", "GetSeries", "aps:GetSeries", Read, arn},
		{"POST " + ws + "api/v1/series", form, "match[]=up&match[]=down", "GetSeries", "aps:GetSeries", Read, arn},
		{"GET " + ws + "api/v1/metadata", nil, "", "GetMetricMetadata", "aps:GetMetricMetadata", Read, arn},
		{"GET " + ws + "api/v1/rules?type=alert", nil, "", "ListRules", "aps:ListRules", Read, arn},
		{"GET " + ws + "api/v1/alerts", nil, "", "ListAlerts", "aps:ListAlerts", Read, arn},
		{"GET " + ws + "alertmanager/api/v2/status", nil, "", "GetAlertManagerStatus", "aps:GetAlertManagerStatus", Read, arn},
		{"GET " + ws + "alertmanager/api/v2/alerts?filter=a&filter=b", nil, "", "ListAlertManagerAlerts", "aps:ListAlertManagerAlerts", Read, arn},
		{"POST " + ws + "alertmanager/api/v2/alerts", nil, `[{"labels":{"a":"b"}}]`, "CreateAlertManagerAlerts", "aps:CreateAlertManagerAlerts", Write, arn},
		{"GET " + ws + "alertmanager/api/v2/alerts/groups", nil, "", "ListAlertManagerAlertGroups", "aps:ListAlertManagerAlertGroups", Read, arn},
		{"GET " + ws + "alertmanager/api/v2/receivers", nil, "", "ListAlertManagerReceivers", "aps:ListAlertManagerReceivers", Read, arn},
		{"GET " + ws + "alertmanager/api/v2/silences", nil, "", "ListAlertManagerSilences", "aps:ListAlertManagerSilences", Read, arn},
		{"POST " + ws + "alertmanager/api/v2/silences", nil, `{"matchers":[]}`, "PutAlertManagerSilences", "aps:PutAlertManagerSilences", Write, arn},
		{"GET " + ws + "alertmanager/api/v2/silence/s-1", nil, "", "GetAlertManagerSilence", "aps:GetAlertManagerSilence", Read, arn},
		{"DELETE " + ws + "alertmanager/api/v2/silence/s-1", nil, "", "DeleteAlertManagerSilence", "aps:DeleteAlertManagerSilence", Write, arn},
		{"POST " + ws + "api/v1/label/__name__/values", nil, "", "", "", "", nil},
		{"GET " + ws + "api/v1/remote_write", nil, "", "", "", "", nil},
	})
}

// Bodies are in the senders' own formats, and paths in those of pipelines.
func TestIngestion(t *testing.T) {
	const id = "-xjmot6taz7mmcv76a36mlscgg4.us-east-1.osis.amazonaws.com"
	arn := "arn:aws:osis:us-east-1:" + account + ":pipeline/"
	recognizePlanes(t, "osis", "osis", []plane{
		{"POST https://ubi-pipeline" + id + "/log/ingest", nil, `[{"a":1}]`, "Ingest", "osis:Ingest", Write, []string{arn + "ubi-pipeline"}},
		{"POST https://fips-data" + id + "/opentelemetry.proto.collector.trace.v1.TraceService/Export", nil, "\x0a", "Ingest", "osis:Ingest", Write, []string{arn + "fips-data"}},
		{"POST https://of-no-known-form.us-east-1.osis.amazonaws.com/v1/traces", nil, "", "Ingest", "osis:Ingest", Write, nil},
	})
}

func TestLivy(t *testing.T) {
	const host = "https://00fabc.livy.emr-serverless-services.us-east-1.amazonaws.com"
	arn := []string{"arn:aws:emr-serverless:us-east-1:" + account + ":/applications/00fabc"}
	recognizePlanes(t, "emr-serverless", "emr-serverless", []plane{
		{"POST " + host + "/sessions", nil, `{"kind":"pyspark"}`, "AccessLivyEndpoints", "emr-serverless:AccessLivyEndpoints", Write, arn},
		{"GET " + host + "/sessions/1/statements/0", nil, "", "AccessLivyEndpoints", "emr-serverless:AccessLivyEndpoints", Write, arn},
	})
}

func TestBlockchains(t *testing.T) {
	const node, at = "https://nd-6eaj5va43jggnpxouzp7y47e4y.", ".managedblockchain.us-east-1.amazonaws.com/"
	recognizePlanes(t, "managedblockchain", "managedblockchain", []plane{
		{"POST " + node + "ethereum" + at, nil, `{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":1}`, "POST", "managedblockchain:POST", Permissions, nil},
		{"GET " + node + "ethereum" + at + "eth/v1/beacon/genesis", nil, "", "GET", "managedblockchain:GET", Permissions, nil},
		{"GET " + node + "wss.ethereum" + at, http.Header{"Upgrade": {"websocket"}}, "", "Invoke", "managedblockchain:Invoke", Permissions, nil},
		{"POST https://mainnet.bitcoin" + at, nil, `{"method":"getblockcount"}`, "InvokeRpcBitcoinMainnet", "managedblockchain:InvokeRpcBitcoinMainnet", Read, nil},
		{"POST https://testnet.bitcoin" + at, nil, "{}", "InvokeRpcBitcoinTestnet", "managedblockchain:InvokeRpcBitcoinTestnet", Read, nil},
		{"POST https://mainnet.polygon" + at, nil, "{}", "InvokeRpcPolygonMainnet", "managedblockchain:InvokeRpcPolygonMainnet", Read, nil},
		{"POST https://amoy.polygon" + at, nil, "{}", "", "", "", nil},
		{"DELETE " + node + "ethereum" + at, nil, "", "", "", "", nil},
	})
}

// Hosts beside those of data planes are nobody's, as before.
func TestPlanesHosts(t *testing.T) {
	tab := newTable(t)
	for _, host := range []string{
		"nd-1.t.ethereum.managedblockchain.us-east-1.amazonaws.com", // takes a token of its own
		"nd-1.m-1.n-1.managedblockchain.us-east-1.amazonaws.com",    // Hyperledger Fabric's, by client certificate
		"nd-1.ethereum.managedblockchain.amazonaws.com", "a.b.livy.emr-serverless-services.us-east-1.amazonaws.com",
		"x.emr-serverless-services.us-east-1.amazonaws.com", "a.b.us-east-1.osis.amazonaws.com",
	} {
		if h, err := tab.ParseHost(host); err == nil {
			t.Errorf("%s accepted as %+v", host, h)
		}
	}
	h, err := tab.ParseHost("osis.us-east-1.amazonaws.com")
	if err != nil || h.Endpoint != "osis" || h.Label != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	in := &Input{Method: http.MethodGet, Host: &h, Path: "/2022-01-01/osis/listPipelines", Header: http.Header{}, SigningName: "osis"}
	if r := tab.Lookup(in); r.Operation != "ListPipelines" {
		t.Errorf("OpenSearch Ingestion's own API: %+v", r)
	}
}

// As FHIR's clients send them: an operation's name in the path may be taken for a resource's
// id, and what only leads to another reading is of none.
func TestFHIR(t *testing.T) {
	const store = "https://healthlake.us-east-1.amazonaws.com/datastore/eeb8005725ae22b35b4edbdc68cf2dfd/r4/"
	arn := []string{"arn:aws:healthlake:us-east-1:" + account + ":datastore/fhir/eeb8005725ae22b35b4edbdc68cf2dfd"}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	recognizePlanes(t, "healthlake", "healthlake", []plane{
		{"GET " + store + "metadata", nil, "", "GetCapabilities", "healthlake:GetCapabilities", Read, arn},
		{"POST " + store, nil, `{"resourceType":"Bundle","type":"batch"}`, "ProcessBundle", "healthlake:ProcessBundle", Write, arn},
		{"POST " + store + "Patient", nil, `{"resourceType":"Patient"}`, "CreateResource", "healthlake:CreateResource", Write, arn},
		{"GET " + store + "Patient?name=a&name=b&_include=x", nil, "", "SearchWithGet", "healthlake:SearchWithGet", Read, arn},
		{"POST " + store + "Patient/_search", form, "birthdate=1944&Action=ListFHIRDatastores", "SearchWithPost", "healthlake:SearchWithPost", Read, arn},
		{"GET " + store + "Patient/2de04858-ba65-44c1-8af1-f2fe69a977d9", nil, "", "ReadResource", "healthlake:ReadResource", Read, arn},
		{"PUT " + store + "Observation/a.1", nil, "{}", "UpdateResource", "healthlake:UpdateResource", Write, arn},
		{"PATCH " + store + "Observation/a", nil, "[]", "PatchResource", "healthlake:PatchResource", Write, arn},
		{"DELETE " + store + "Observation/a", nil, "", "DeleteResource", "healthlake:DeleteResource", Write, arn},
		{"GET " + store + "Observation/a/_history?_count=2", nil, "", "GetHistoryByResourceId", "healthlake:GetHistoryByResourceId", Read, arn},
		{"GET " + store + "Observation/a/_history/3", nil, "", "VersionReadResource", "healthlake:VersionReadResource", Read, arn},
		{"GET " + store + "Patient/a/$everything", nil, "", "SearchEverything", "healthlake:SearchEverything", Read, arn},
		{"GET " + store + "ValueSet/$expand?url=u", nil, "", "", "", "", nil},
		{"GET " + store + "ValueSet/%24expand?url=u", nil, "", "", "", "", nil},
		{"GET " + store + "$export", nil, "", "", "", "", nil},
		{"DELETE " + store + "export/1", nil, "", "", "", "", nil},
		{"DELETE " + store + "Patient/a/$purge", nil, "", "", "", "", nil},
		{"DELETE " + store + "Patient/..", nil, "", "", "", "", nil},
		{"DELETE " + store + "Patient/a/", nil, "", "", "", "", nil},
		{"PUT " + store + "Patient?identifier=a", nil, "{}", "", "", "", nil},
		{"GET https://healthlake.us-east-1.amazonaws.com/datastore/x/r5/Patient", nil, "", "", "", "", nil},
	})
	tab := newTable(t)
	bundle := names(tab.Recognize(request(t, tab, "POST "+store, nil, `{"resourceType":"Bundle","type":"batch"}`)).Also)
	if d := cmp.Diff([]string{"healthlake:CreateResource", "healthlake:ReadResource", "healthlake:UpdateResource", "healthlake:DeleteResource", "healthlake:SearchWithGet"}, bundle); d != "" {
		t.Errorf("a bundle may do: %s", d)
	}
	for _, action := range bundle {
		if tab.Levels()[action] == "" {
			t.Errorf("%s has no level", action)
		}
	}
	for name, header := range map[string]http.Header{
		"a target of the API's own": {"X-Amz-Target": {"HealthLake.DeleteFHIRDatastore"}},
		"another method":            {"X-Http-Method-Override": {"DELETE"}},
	} {
		if r := tab.Recognize(request(t, tab, "POST "+store+"Patient", header, "{}")); !r.Ambiguous {
			t.Errorf("%s: %+v", name, r)
		}
	}
	own := http.Header{"X-Amz-Target": {"HealthLake.ListFHIRDatastores"}, "Content-Type": {"application/x-amz-json-1.0"}}
	if r := tab.Recognize(request(t, tab, "POST https://healthlake.us-east-1.amazonaws.com/", own, "{}")); r.Operation != "ListFHIRDatastores" || r.Ambiguous {
		t.Errorf("the API's own: %+v", r)
	}
}

// As Grafana asks CloudWatch in PromQL, with a form or without.
func TestPromQL(t *testing.T) {
	const host = "https://monitoring.us-east-1.amazonaws.com"
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	recognizePlanes(t, "cloudwatch", "monitoring", []plane{
		{"POST " + host + "/api/v1/query", form, "query=up", "QueryMetrics", "cloudwatch:GetMetricData", Read, nil},
		{"GET " + host + "/api/v1/query_range?query=up&start=1&end=2", nil, "", "QueryMetrics", "cloudwatch:GetMetricData", Read, nil},
		{"POST " + host + "/api/v1/series", form, "match%5B%5D=a&match%5B%5D=b", "GetSeries", "cloudwatch:ListMetrics", List, nil},
		{"GET " + host + "/api/v1/labels", nil, "", "GetLabels", "cloudwatch:ListMetrics", List, nil},
		{"GET " + host + "/api/v1/label/__name__/values", nil, "", "GetLabels", "cloudwatch:ListMetrics", List, nil},
		{"GET " + host + "/api/v1/label/values", nil, "", "", "", "", nil},
		{"DELETE " + host + "/api/v1/series", nil, "", "", "", "", nil},
	})
	tab := newTable(t)
	if r := tab.Recognize(request(t, tab, "POST "+host+"/api/v1/query", form, "query=up")); cmp.Diff([]string{"cloudwatch:ListMetrics"}, names(r.Also)) != "" {
		t.Errorf("a query needs %v, too", r.Also)
	}
	for _, body := range []string{"query=up&Action=DeleteAlarms", "Action=DeleteAlarms&Action=x"} {
		if r := tab.Recognize(request(t, tab, "POST "+host+"/api/v1/query", form, body)); !r.Ambiguous {
			t.Errorf("%s: %+v", body, r)
		}
	}
}
