"""Administration of who may use the service: users, their groups, their keys. Who calls is `app.auth`'s business."""
