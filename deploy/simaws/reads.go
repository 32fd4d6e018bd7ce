package simaws

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// onlyThing is what each service of this file has, and all that it has.
const onlyThing = "demo"

// restRead is a call of a REST service that the simulation has little more of: it lists
// the one thing there is, or tells of it.
type restRead struct {
	operation, action string
	event             string // CloudTrail's name for it, where that is another
	resource          string // its ARN, or "*"
	missing           string // the error's code for another thing
	answer            string // JSON or XML
}

const (
	lambdaFunction = `{"FunctionName":"demo","FunctionArn":"` + lambdaARN + `","Runtime":"provided.al2023","Role":"arn:{partition}:iam::{account}:role/demo",` +
		`"Handler":"bootstrap","CodeSize":1,"Timeout":3,"MemorySize":128,"LastModified":"2026-01-01T00:00:00.000+0000","Version":"$LATEST"}`
	lambdaARN  = "arn:{partition}:lambda:{region}:{account}:function:demo"
	hostedZone = `<HostedZone><Id>/hostedzone/demo</Id><Name>demo.example.</Name><CallerReference>demo</CallerReference>` +
		`<Config><PrivateZone>false</PrivateZone></Config><ResourceRecordSetCount>2</ResourceRecordSetCount></HostedZone>`
	distributionARN = "arn:{partition}:cloudfront::{account}:distribution/demo"
	distribution    = `<Id>demo</Id><ARN>` + distributionARN + `</ARN><Status>Deployed</Status><LastModifiedTime>2026-01-01T00:00:00Z</LastModifiedTime><DomainName>demo.cloudfront.net</DomainName>`
	restAPI         = `{"id":"demo","name":"demo","createdDate":1767225600}`
)

// restReads are by signing name, method and path; "*" at the end stands for a name.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html and API_GetFunction.html,
// https://docs.aws.amazon.com/apigateway/latest/api/API_GetRestApis.html and API_GetRestApi.html,
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZones.html and API_GetHostedZone.html,
// https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_ListDistributions.html and API_GetDistribution.html
var restReads = map[string]restRead{
	"lambda GET /2015-03-31/functions": {"ListFunctions", "lambda:ListFunctions", "ListFunctions20150331", "*", "",
		`{"Functions":[` + lambdaFunction + `]}`},
	"lambda GET /2015-03-31/functions/*": {"GetFunction", "lambda:GetFunction", "GetFunction20150331v2", lambdaARN, "ResourceNotFoundException",
		`{"Configuration":` + lambdaFunction + `,"Code":{"RepositoryType":"S3","Location":"https://demo.s3.amazonaws.com/demo"}}`},
	"apigateway GET /restapis":   {"GetRestApis", "apigateway:GET", "", "arn:{partition}:apigateway:{region}::/restapis", "", `{"item":[` + restAPI + `]}`},
	"apigateway GET /restapis/*": {"GetRestApi", "apigateway:GET", "", "arn:{partition}:apigateway:{region}::/restapis/demo", "NotFoundException", restAPI},
	"route53 GET /2013-04-01/hostedzone": {"ListHostedZones", "route53:ListHostedZones", "", "*", "",
		`<ListHostedZonesResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><HostedZones>` + hostedZone +
			`</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesResponse>`},
	"route53 GET /2013-04-01/hostedzone/*": {"GetHostedZone", "route53:GetHostedZone", "", "arn:{partition}:route53:::hostedzone/demo", "NoSuchHostedZone",
		`<GetHostedZoneResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">` + hostedZone +
			`<DelegationSet><NameServers><NameServer>ns-1.demo.example</NameServer></NameServers></DelegationSet></GetHostedZoneResponse>`},
	"cloudfront GET /2020-05-31/distribution": {"ListDistributions", "cloudfront:ListDistributions", "", "*", "",
		`<DistributionList xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Marker></Marker><MaxItems>100</MaxItems><IsTruncated>false</IsTruncated>` +
			`<Quantity>1</Quantity><Items><DistributionSummary>` + distribution + `</DistributionSummary></Items></DistributionList>`},
	"cloudfront GET /2020-05-31/distribution/*": {"GetDistribution", "cloudfront:GetDistribution", "", distributionARN, "NoSuchDistribution",
		`<Distribution xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/">` + distribution + `</Distribution>`},
}

func (s *Sim) serveRESTRead(c *call) error {
	at := c.ep.service + " " + c.r.Method + " " + c.path
	r, ok := restReads[at]
	name := onlyThing
	if !ok {
		i := strings.LastIndexByte(at, '/') + 1
		name = at[i:]
		r, ok = restReads[at[:i]+"*"]
	}
	if !ok {
		return s.serveUnknown(c)
	}
	c.event.source = c.ep.service + ".amazonaws.com"
	c.event.nameIt(cmp.Or(r.event, r.operation))
	if err := c.authorize(r.action, c.where(strings.ReplaceAll(r.resource, onlyThing, name))); err != nil {
		return err
	}
	if name != onlyThing {
		return failure(http.StatusNotFound, r.missing, "There is no "+name+": the simulated AWS has demo and nothing else.")
	}
	kind := "application/json"
	if c.proto == protoRESTXML {
		kind = "text/xml"
	}
	c.answer(http.StatusOK, kind, []byte(c.where(r.answer)))
	return nil
}

// where fills in partition, region and account of a call.
func (c *call) where(s string) string {
	return strings.NewReplacer("{partition}", c.ep.partition, "{region}", c.ep.region, "{account}", c.who.account).Replace(s)
}

// serveSNS: https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html and API_GetTopicAttributes.html
func (s *Sim) serveSNS(c *call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	action := c.form.Get("Action")
	topic := c.where("arn:{partition}:sns:{region}:{account}:" + onlyThing)
	asked := topic
	switch action {
	case "ListTopics":
	case "GetTopicAttributes":
		asked = c.form.Get("TopicArn")
	default:
		return s.serveUnknown(c)
	}
	c.event.source = "sns.amazonaws.com"
	c.event.nameIt(action)
	if err := c.authorize("sns:"+action, asked); err != nil {
		return err
	}
	if asked != topic {
		return failure(http.StatusNotFound, "NotFound", "Topic does not exist")
	}
	c.queryAnswer(action, func(b *bytes.Buffer) {
		if action == "ListTopics" {
			b.WriteString("<Topics><member>")
			element(b, "TopicArn", topic)
			b.WriteString("</member></Topics>")
			return
		}
		b.WriteString("<Attributes><entry><key>TopicArn</key>")
		element(b, "value", topic)
		b.WriteString("</entry></Attributes>")
	})
	return nil
}

// cbor writes an answer of Smithy RPC v2:
// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
func (c *call) cbor(v any) error {
	// Timestamps are seconds under tag 1.
	mode, err := cbor.EncOptions{Time: cbor.TimeUnixDynamic, TimeTag: cbor.EncTagRequired}.EncMode()
	if err != nil {
		return err
	}
	raw, err := mode.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	c.answer(http.StatusOK, "application/cbor", raw)
	return nil
}

// serveCloudWatch speaks JSON and CBOR:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html and API_DescribeAlarms.html
func (s *Sim) serveCloudWatch(c *call) error {
	operation, answer, decode := c.r.Header.Get("X-Amz-Target"), func(v any) error { return c.json("1.0", v) }, json.Unmarshal
	changed := any(madeAt)
	if c.proto == protoCBOR {
		operation, answer, decode, changed = c.path, c.cbor, cbor.Unmarshal, time.Unix(madeAt, 0)
	}
	operation = operation[strings.LastIndexAny(operation, "./")+1:]
	if (c.proto != protoCBOR && c.proto != protoJSON) || (operation != "ListMetrics" && operation != "DescribeAlarms") {
		return s.serveUnknown(c)
	}
	c.event.source = "monitoring.amazonaws.com"
	c.event.nameIt(operation)
	var in struct{ AlarmNames []string }
	if err := decode(c.body, &in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+operation+" takes")
	}
	arn := c.where("arn:{partition}:cloudwatch:{region}:{account}:alarm:")
	asked := "*"
	if len(in.AlarmNames) > 0 {
		asked = arn + in.AlarmNames[0]
	}
	if err := c.authorize("cloudwatch:"+operation, asked); err != nil {
		return err
	}
	if operation == "ListMetrics" {
		return answer(map[string]any{"Metrics": []any{map[string]any{"Namespace": "Demo", "MetricName": onlyThing, "Dimensions": []any{}}}})
	}
	alarms := []any{}
	if len(in.AlarmNames) == 0 || slices.Contains(in.AlarmNames, onlyThing) {
		alarms = append(alarms, map[string]any{"AlarmName": onlyThing, "AlarmArn": arn + onlyThing, "StateValue": "OK",
			"StateUpdatedTimestamp": changed, "EvaluationPeriods": 1, "Threshold": 0.5})
	}
	return answer(map[string]any{"MetricAlarms": alarms, "CompositeAlarms": []any{}})
}
