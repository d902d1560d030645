# Built, checked and published in one. What layerwise.toml says of the layer holds: requirements, the encoding's file, the
# committed lock if there is one.
resource "layerwise_layer_version" "this" {
  layer_name   = var.name
  project      = var.project
  layer        = "document-processor"
  runtime      = var.runtime
  architecture = var.architecture

  # The function uses the old version until it has the new one; and if the build fails, nothing is lost.
  lifecycle {
    create_before_destroy = true
  }
}

# Judged together with its layer: what the handler imports has to be there.

resource "layerwise_function" "this" {
  code         = "${var.project}/${var.code}"
  handler      = "index.handler"
  layers       = [layerwise_layer_version.this.arn]
  runtime      = var.runtime
  architecture = var.architecture
  output_path  = "build/${var.name}.zip"
}

resource "aws_lambda_function" "this" {
  function_name    = var.name
  role             = aws_iam_role.this.arn
  filename         = layerwise_function.this.path
  source_code_hash = layerwise_function.this.source_code_hash
  handler          = layerwise_function.this.handler
  runtime          = var.runtime
  architectures    = [var.architecture]
  layers           = [layerwise_layer_version.this.arn]
  timeout          = 300
  memory_size      = 1024

  environment {
    variables = {
      OUTPUT_BUCKET      = aws_s3_bucket.documents.bucket
      TIKTOKEN_CACHE_DIR = "/opt/tiktoken"
    }
  }

  # Else Lambda makes the log group itself, without an end to its logs.
  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "this" {
  name = var.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = var.name
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
        Resource = "${aws_s3_bucket.documents.arn}/*"
      },
      {
        # Without it S3 says 403 where it means 404.
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.documents.arn
      },
    ]
  })
}

resource "aws_s3_bucket" "documents" {
  bucket = var.bucket
}

resource "aws_lambda_permission" "bucket" {
  statement_id  = "bucket"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "s3.amazonaws.com"
  source_arn    = aws_s3_bucket.documents.arn
}

resource "aws_s3_bucket_notification" "documents" {
  bucket = aws_s3_bucket.documents.id

  lambda_function {
    lambda_function_arn = aws_lambda_function.this.arn
    events              = ["s3:ObjectCreated:*"]
    filter_suffix       = ".pdf"
  }

  depends_on = [aws_lambda_permission.bucket]
}
