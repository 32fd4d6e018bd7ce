package correlate

import (
	"slices"
	"strings"
)

// DataEvent says whether CloudTrail logs an operation as a data event, that is,
// only where a trail asks for it. service is the name that requests have. What is
// not known to be one is a management event, whose absence is a finding.
func DataEvent(service, operation string) bool {
	if service == "s3" {
		operation = canonical("s3", operation)
	}
	d := dataEvents[service]
	return d.all || d.operations[operation]
}

// data is what CloudTrail logs of a service as data events.
type data struct {
	// types are those that selectors may name it by; see dataTypes.
	types []string
	// all of its operations, or these.
	all        bool
	operations map[string]bool
}

func these(types, operations string) data {
	d := data{types: strings.Fields(types), operations: map[string]bool{}}
	for n := range strings.FieldsSeq(operations) {
		d.operations[n] = true
	}
	return d
}

func every(types string) data { return data{types: strings.Fields(types), all: true} }

// dataEvents, by the names that requests have for services: resource types from
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html,
// operations from the pages of the services that it links to. Services whose pages
// don't name operations are here where all that the service does is what the type
// is about.
var dataEvents = map[string]data{
	"s3": these(`AWS::S3::Object AWS::S3::AccessPoint AWS::S3Express::Object AWS::S3Express::AccessPoint
		AWS::S3Outposts::Object AWS::S3ObjectLambda::AccessPoint`, `AbortMultipartUpload CompleteMultipartUpload CopyObject CreateMultipartUpload DeleteObject
		DeleteObjectAnnotation DeleteObjectTagging DeleteObjects GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes GetObjectLegalHold
		GetObjectRetention GetObjectTagging GetObjectTorrent HeadBucket HeadObject ListMultipartUploads ListObjectAnnotations ListObjects
		ListObjectVersions ListParts PutObject PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectRetention PutObjectTagging
		RestoreObject SelectObjectContent UploadPart UploadPartCopy CreateSession WriteGetObjectResponse`),
	"s3vectors": these("AWS::S3Vectors::Index AWS::S3Vectors::VectorBucket", "DeleteVectors GetVectors ListVectors PutVectors QueryVectors"),
	"lambda":    these("AWS::Lambda::Function", "Invoke InvokeAsync InvokeWithResponseStream"),
	"dynamodb": these("AWS::DynamoDB::Table", `BatchExecuteStatement BatchGetItem BatchWriteItem DeleteItem ExecuteStatement
		ExecuteTransaction GetItem PutItem Query Scan TransactGetItems TransactWriteItems UpdateItem`),
	// Its DescribeStream and ListStreams are management events.
	"dynamodbstreams": these("AWS::DynamoDB::Stream AWS::DynamoDB::Table", "GetRecords GetShardIterator"),
	"sqs": these("AWS::SQS::Queue", `SendMessage SendMessageBatch ReceiveMessage DeleteMessage DeleteMessageBatch
		ChangeMessageVisibility ChangeMessageVisibilityBatch`),
	"sns":      these("AWS::SNS::Topic AWS::SNS::PlatformEndpoint", "Publish PublishBatch"),
	"kinesis":  these("AWS::Kinesis::Stream AWS::Kinesis::StreamConsumer", "GetRecords GetShardIterator PutRecord PutRecords SubscribeToShard"),
	"firehose": these("AWS::KinesisFirehose::DeliveryStream", "PutRecord PutRecordBatch"),
	// kinesisvideo itself makes and lists streams: management events.
	"kinesis-video-archived-media": every("AWS::KinesisVideo::Stream"),
	"kinesis-video-media":          every("AWS::KinesisVideo::Stream"),
	"kinesis-video-signaling":      every("AWS::KinesisVideo::SignalingChannel"),
	"kinesis-video-webrtc-storage": every("AWS::KinesisVideo::SignalingChannel AWS::KinesisVideo::Stream"),
	"cloudwatch":                   these("AWS::CloudWatch::Metric", "GetMetricData GetMetricStatistics GetMetricWidgetImage ListMetrics PutMetricData"),
	"cognito-identity": these("AWS::Cognito::IdentityPool", `GetCredentialsForIdentity GetId GetOpenIdToken
		GetOpenIdTokenForDeveloperIdentity UnlinkIdentity`),
	// StartSnapshot and CompleteSnapshot are management events.
	"ebs": these("AWS::EC2::Snapshot", "GetSnapshotBlock ListChangedBlocks ListSnapshotBlocks PutSnapshotBlock"),
	// SageMaker's page says that InvokeEndpoint is not among what is logged by default.
	"sagemaker-runtime":              every("AWS::SageMaker::Endpoint"),
	"sagemaker-featurestore-runtime": every("AWS::SageMaker::FeatureGroup"),
	"sagemaker-metrics":              every("AWS::SageMaker::ExperimentTrialComponent"),
	// InvokeModel and Converse, with a stream or without, are management events.
	"bedrock-runtime": these("AWS::Bedrock::Model AWS::Bedrock::AsyncInvoke AWS::Bedrock::Guardrail",
		"ApplyGuardrail GetAsyncInvoke InvokeModelWithBidirectionalStream StartAsyncInvoke"),
	"bedrock-agent-runtime": these(`AWS::Bedrock::AgentAlias AWS::Bedrock::FlowAlias AWS::Bedrock::FlowExecution AWS::Bedrock::InlineAgent
		AWS::Bedrock::KnowledgeBase AWS::Bedrock::Session`, `CreateInvocation CreateSession DeleteSession EndSession
		GetExecutionFlowSnapshot GetFlowExecution GetInvocationStep GetSession InvokeAgent InvokeFlow InvokeInlineAgent
		ListFlowExecutionEvents ListInvocationSteps ListInvocations PutInvocationStep Retrieve RetrieveAndGenerate
		RetrieveAndGenerateStream StartFlowExecution StopFlowExecution UpdateSession`),
	"appconfigdata":            every("AWS::AppConfig::Configuration"),
	"cloudfront-keyvaluestore": every("AWS::CloudFront::KeyValueStore"),
	"cloudtrail-data":          every("AWS::CloudTrail::Channel"),
	"geo-maps":                 every("AWS::GeoMaps::Provider"),
	"geo-places":               every("AWS::GeoPlaces::Provider"),
	"geo-routes":               every("AWS::GeoRoutes::Provider"),
	"rds-data": these("AWS::RDS::DBCluster", `BatchExecuteStatement BeginTransaction CommitTransaction ExecuteStatement
		RollbackTransaction`),
	"timestream-query":    these("AWS::Timestream::Database AWS::Timestream::Table AWS::Timestream::RegionalEndpoint", "Query"),
	"servicediscovery":    these("AWS::ServiceDiscovery::Namespace AWS::ServiceDiscovery::Service", "DiscoverInstances DiscoverInstancesRevision"),
	"verifiedpermissions": these("AWS::VerifiedPermissions::PolicyStore", "BatchIsAuthorized BatchIsAuthorizedWithToken IsAuthorized IsAuthorizedWithToken"),
}

// neverLogged are the calls of which CloudTrail has no records, whatever a trail selects, by
// the names that requests have for services; "" is all of a service's.
var neverLogged = map[string][]string{
	// https://docs.aws.amazon.com/opensearch-service/latest/developerguide/managedomains-cloudtrailauditing.html
	"es": {"ESHttpDelete", "ESHttpGet", "ESHttpHead", "ESHttpPatch", "ESHttpPost", "ESHttpPut"},
	// https://docs.aws.amazon.com/cloudsearch/latest/developerguide/logging-config-api-calls.html
	"cloudsearchdomain": {""},
	// It logs the calls by which APIs are made, and two of these not
	// (https://docs.aws.amazon.com/apigateway/latest/developerguide/cloudtrail.html).
	"apigateway":  {"TestInvokeAuthorizer", "TestInvokeMethod"},
	"execute-api": {"Invoke"},
}

// logged says whether CloudTrail may have a record of an operation at all.
func logged(service, operation string) bool {
	never := neverLogged[service]
	return !slices.Contains(never, "") && !slices.Contains(never, operation)
}
