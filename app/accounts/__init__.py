"""Administration of who may use the service: users, their groups, their keys, and the audit over HTTP. Who calls is `app.auth`'s business."""
