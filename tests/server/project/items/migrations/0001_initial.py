from django.db import migrations, models


def first_item(apps, schema_editor):
    apps.get_model("items", "Item").objects.create(title="water the plants")


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Item",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200)),
                ("done", models.BooleanField(default=False)),
            ],
        ),
        migrations.RunPython(first_item, migrations.RunPython.noop),
    ]
