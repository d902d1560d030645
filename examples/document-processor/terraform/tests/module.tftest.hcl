# hashicorp/aws is a mock. The layer and the function are built for real, and the layer is published to a test server:
#   pip install 'moto[server]' && moto_server -p 5000
#   AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=t AWS_SECRET_ACCESS_KEY=t terraform test

mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = {
      arn = "arn:aws:iam::123456789012:role/test"
    }
  }
  mock_resource "aws_lambda_function" {
    defaults = {
      arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
    }
  }
  mock_resource "aws_s3_bucket" {
    defaults = {
      arn = "arn:aws:s3:::documents-of-a-test"
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = {
      arn = "arn:aws:logs:us-east-1:123456789012:log-group:test"
    }
  }
}

variables {
  environment = "test"
  bucket      = "documents-of-a-test"
}

run "builds_and_publishes" {
  assert {
    condition     = can(regex("^[0-9A-Za-z+/]{43}=$", output.layer_code_sha256))
    error_message = "no layer was built"
  }
  assert {
    condition     = can(regex(":layer:test-chatbot-document-processor:[0-9]+$", output.layer))
    error_message = "the layer was not published"
  }
}

run "nothing_changes_when_nothing_changed" {
  assert {
    condition     = output.layer == run.builds_and_publishes.layer
    error_message = "the same inputs gave another layer"
  }
}
