package awsreq

import (
	"slices"
	"testing"
)

// All operations are there, with the names by which people ask for them.
func TestOperations(t *testing.T) {
	table, err := New()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Operation{}
	n := 0
	for o := range table.Operations() {
		found[o.Service+" "+o.Name] = o
		n++
	}
	if n != len(table.ops) {
		t.Errorf("%d of %d operations", n, len(table.ops))
	}
	for name, action := range map[string]string{"s3 ListBuckets": "s3:ListAllMyBuckets", "s3 HeadObject": "s3:GetObject", "s3 DeleteObject": "s3:DeleteObjectVersion", "cloudwatch GetMetricData": "cloudwatch:GetMetricData"} {
		if o := found[name]; !slices.Contains(o.Actions, action) {
			t.Errorf("%s: %+v lacks %s", name, o, action)
		}
	}
	if o := found["cloudwatch GetMetricData"]; o.Endpoint != "monitoring" || o.Prefix != "cloudwatch" {
		t.Errorf("%+v", o)
	}
}
